"""The siamese task learns with every head, judges at validation's threshold, and refuses parts that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import calotype
from calotype.callbacks.metrics_csv import read_metrics
from calotype.types import UserError

DIGITS = [
    "task=siamese", "dataset=digits", "data.split=image", "data.train_pairs=600", "data.val_pairs=200", "data.test_pairs=400",
    "model.backbone.widths=[8,16]", "model.embedding_size=16", "hardware=cpu", "logger=none", "trainer.max_epochs=2",
]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    count = iter(range(100))

    def go(*overrides: str):  # type: ignore[no-untyped-def]
        return calotype.run([*DIGITS, f"hydra.run.dir={tmp_path}/s{next(count)}", *overrides])

    return go


@pytest.mark.parametrize("head", ["weighted_l1", "chi_square", "concatenation", "squared_l2"])
def test_learns_with_every_head(run, head: str) -> None:  # type: ignore[no-untyped-def]
    loss = ["loss=pair_contrastive"] if head == "squared_l2" else []
    result = run(f"task/head={head}", *loss, "trainer.max_epochs=6", "data.train_pairs=3000", "optimizer.lr=0.01")
    assert result.metrics["test/accuracy"] > 0.85
    assert result.metrics["test/auroc"] > 0.9
    pictures = {p.stem for p in (result.run_dir / "images").glob("*.png")}
    assert {"roc", "det", "distances", "same_right", "different_right", "map"} <= pictures


def test_accuracy_again_by_hand(run) -> None:  # type: ignore[no-untyped-def]
    """From the files of the run alone: the pairs of split.json, the images, the threshold of the checkpoint."""
    from calotype.datasets.characters import digits

    result = run()
    module, source = calotype.load(result.run_dir), digits()
    manifest = json.loads((result.run_dir / "split.json").read_text())
    assert manifest["num_pairs"] == {"val": 200, "test": 400}
    rows = torch.tensor([[int(a), int(b), same] for a, b, same in manifest["pairs"]["test"]])
    assert isinstance(source.items, torch.Tensor)
    assert source.labels is not None
    assert torch.equal(source.labels[rows[:, 0]] == source.labels[rows[:, 1]], rows[:, 2].bool())
    with torch.no_grad():
        first, second = (module(source.items[rows[:, i]].float() / 255) for i in (0, 1))
        accepted = module.distance(first, second) <= module.decision.threshold
    right = (accepted == rows[:, 2].bool()).float().mean().item()  # as many of each kind: the plain accuracy
    assert right == pytest.approx(result.metrics["test/accuracy"])


def test_same_seed_same_pairs_and_figures(run) -> None:  # type: ignore[no-untyped-def]
    first, second, other = run("data.augment.rotate=10"), run("data.augment.rotate=10"), run("data.augment.rotate=10", "seed=1")
    assert first.metrics == second.metrics != other.metrics
    manifests = [json.loads((r.run_dir / "split.json").read_text()) for r in (first, second, other)]
    assert manifests[0] == manifests[1]
    assert manifests[0]["hash"] != manifests[2]["hash"]
    assert read_metrics(first.run_dir / "metrics.csv") == read_metrics(second.run_dir / "metrics.csv")


def test_every_parameter_moves(run) -> None:  # type: ignore[no-untyped-def]
    before = run("trainer.limit_train_batches=0").module.state_dict()
    after = run("test_with=last", "trainer.max_epochs=1").module.state_dict()
    names = [name for name, _ in run("trainer.limit_train_batches=0").module.named_parameters()]
    assert [name for name in names if torch.equal(before[name], after[name])] == []


def test_fitted_encoder(tmp_path: Path) -> None:
    options = [o for o in DIGITS if not o.startswith(("model.", "trainer.max_epochs"))]
    fitted = ["model=embedding/lda", "task/head=squared_l2", "loss=pair_contrastive"]
    assert calotype.run([*options, *fitted, f"hydra.run.dir={tmp_path}/lda"]).metrics["test/accuracy"] > 0.9
    with pytest.raises(UserError, match="no head is trained with it; choose task/head=squared_l2 loss=pair_contrastive"):
        calotype.run([*options, "model=embedding/lda", f"hydra.run.dir={tmp_path}/no"])


def test_head_and_loss_must_fit(run) -> None:  # type: ignore[no-untyped-def]
    run("dry_run=true")
    for wrong in (["task/head=squared_l2"], ["loss=pair_contrastive"]):
        with pytest.raises(UserError, match="choose loss="):
            run(*wrong, "dry_run=true")
    with pytest.raises(UserError, match="SquaredL2 gives distances, and the loss takes logits; choose loss=pair_contrastive"):
        run("task/head=squared_l2")
    with pytest.raises(UserError, match="WeightedL1 gives logits, and the loss takes distances; choose loss=binary_cross_entropy"):
        run("loss=pair_contrastive")
    with pytest.raises(UserError, match=r"loss: Triplet takes \(embeddings, labels\).*task=siamese takes loss=binary_cross_entropy"):
        run("loss=triplet")


def test_too_few_to_validate_is_told_before_training(run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"data.val_fraction=0.1: 1 identities with .* give no validation pair of each kind"):
        run("data.split=identity", "data.val_fraction=0.1")
    with pytest.raises(UserError, match=r"data.val_fraction=0.1: 1 identities with .* give no validation pair of each kind"):
        calotype.run(["task=facenet", "dataset=digits", "data.val_fraction=0.1", "hydra.run.dir=f"])


def test_folds_of_a_pairs_file(tmp_path: Path) -> None:
    """People in the file never train; the figure of ten folds has the threshold of the other folds."""
    from PIL import Image

    from calotype.datasets.synthetic_faces import synthetic_faces

    source = synthetic_faces(num_identities=14, images_per_identity=4, size=16)
    assert isinstance(source.items, torch.Tensor)
    for i, image in enumerate(source.items):
        person, number = source.class_names[i // 4], i % 4 + 1
        (tmp_path / "lfw" / person).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "lfw" / person / f"{person}_{number:04d}.png")
    lines = ["2\t4"]
    for fold in range(2):
        names = source.class_names[fold * 4 : fold * 4 + 4]
        lines += [f"{name}\t1\t3" for name in names] + [f"{names[i]}\t1\t{names[(i + 1) % 4]}\t2" for i in range(4)]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    options = [
        "task=siamese", "dataset=lfw", "dataset.min_images=2", f"dataset.root={tmp_path}", f"data.pairs_file={tmp_path}/pairs.txt",
        "data.val_fraction=0.4", "model.backbone.widths=[4]", "hardware=cpu", "logger=none", "trainer.max_epochs=1",
        "data.train_pairs=40", f"hydra.run.dir={tmp_path}/run",
    ]  # fmt: skip
    result = calotype.run(options)
    assert 0 <= result.metrics["test/fold_accuracy"] <= 1
    assert result.metrics["test/genuine_pairs"] == result.metrics["test/impostor_pairs"] == 8
    sides = json.loads((result.run_dir / "split.json").read_text())
    people = [{name.partition("/")[0] for name in sides[side]} for side in ("train", "val", "test")]
    assert people[2] == set(source.class_names[:8])
    assert not people[2] & (people[0] | people[1])


def test_trains_in_training_mode(run) -> None:  # type: ignore[no-untyped-def]
    """Statistics of BatchNorm move: building the task leaves no part in evaluation mode."""
    state = run("trainer.max_epochs=1", "test_with=last").module.state_dict()
    assert int(state["model.norm.num_batches_tracked"]) > 0
    assert int(state["model.backbone.features.1.num_batches_tracked"]) > 0


@pytest.mark.parametrize("task", ["siamese", "facenet"])
def test_a_run_whose_embeddings_are_one_point_ends(task: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every image black: the map of embeddings ended the process by a segmentation fault."""
    from protocols.kill_and_resume import command

    with pytest.warns(UserWarning, match="collapse"):
        result = calotype.run(
            [*command(task, tmp_path / "run"), "data.preprocess.brightness=1e-9", "hardware=cpu", "hardware.num_threads=1"]
        )
    assert result.metrics["test/eer"] == pytest.approx(0.5)
    assert {"map.png", "roc.png"} <= {path.name for path in (tmp_path / "run" / "images").iterdir()}

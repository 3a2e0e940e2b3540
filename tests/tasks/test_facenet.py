"""FaceNet learns, says the same for the same seed, and computes on two processes what it computes on one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import calotype
from calotype.types import Embeddings, UserError

FACES = [
    "task=facenet", "dataset=synthetic_faces", "dataset.num_identities=16", "dataset.images_per_identity=8", "dataset.size=16",
    "data.test_fraction=0.4", "data.val_fraction=0.2", "data.identities_per_batch=4", "model.backbone.widths=[8,16]",
    "model.embedding_size=16", "hardware=cpu", "logger=none", "trainer.max_epochs=2", "task.one_shot_ways=5",
]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    count = iter(range(100))

    def go(*overrides: str):  # type: ignore[no-untyped-def]
        return calotype.run([*FACES, f"hydra.run.dir={tmp_path}/f{next(count)}", *overrides])

    return go


def test_learns_and_leaves_a_whole_run_folder(run) -> None:  # type: ignore[no-untyped-def]
    result = run(
        "trainer.max_epochs=6",
        "data.batches_per_epoch=30",
        "optimizer.lr=0.005",
        "loss=triplet_soft",
        "dataset.num_identities=30",
        "dataset.size=24",
    )
    assert result.metrics["test/one_shot_accuracy"] > 0.6
    assert result.metrics["test/eer"] < 0.25
    for name in ("auroc", "tar_at_far_1e-2", "accuracy", "rank1", "calibration_error", "eer_low", "eer_high", "one_shot_accuracy_low"):
        assert f"test/{name}" in result.metrics
    pictures = {p.stem for p in (result.run_dir / "images").glob("*.png")}
    assert {"roc", "det", "distances", "map", "curves", "same_right", "different_right"} <= pictures
    logged = (result.run_dir / "metrics.csv").read_text()
    for name in ("train/active", "train/positive_distance", "train/negative_distance", "train/spread"):
        assert name in logged
    record = json.loads((result.run_dir / "run.json").read_text())
    assert "alarms" not in record
    again = calotype.load(result.run_dir)
    assert again.decision.known
    assert float(again.decision.threshold) == float(result.module.decision.threshold)


def test_same_seed_same_figures_other_seed_others(run) -> None:  # type: ignore[no-untyped-def]
    first, second, other = run("data.augment.flip=0.5"), run("data.augment.flip=0.5"), run("data.augment.flip=0.5", "seed=1")
    assert first.metrics == second.metrics
    assert first.metrics != other.metrics
    splits = [json.loads((r.run_dir / "split.json").read_text())["hash"] for r in (first, second, other)]
    assert splits[0] == splits[1] != splits[2]


@pytest.mark.parametrize(
    "loss", ["triplet", "triplet_soft", "contrastive", "arcface", "triplet loss.mining=random", "triplet loss.mining=all"]
)
def test_every_loss_moves_every_parameter(run, loss: str) -> None:  # type: ignore[no-untyped-def]
    options = [f"loss={loss.partition(' ')[0]}", *loss.split()[1:], "trainer.max_epochs=1"]
    before = run(*options, "trainer.limit_train_batches=0").module.state_dict()
    after = run(*options, "test_with=last").module.state_dict()
    names = [n for n in before if n.startswith(("model.", "loss.")) and before[n].is_floating_point() and "bias" not in n]
    assert len(names) > 5
    assert all(not torch.equal(before[name], after[name]) for name in names)


def test_a_loss_of_another_library_drops_in(run) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("pytorch_metric_learning")
    target = "loss._target_=pytorch_metric_learning.losses"
    simple = ["~loss.margin", "~loss.mining"]
    assert "test/eer" in run(*simple, f"{target}.MultiSimilarityLoss").metrics
    assert "test/eer" in run(*simple, f"{target}.ArcFaceLoss").metrics  # takes num_classes and embedding_size


@pytest.mark.parametrize("model", ["pixels", "pca", "lda"])
def test_fitted_models_under_the_same_command(tmp_path: Path, model: str) -> None:
    options = [o for o in FACES if not o.startswith(("model.", "trainer.max_epochs"))]
    result = calotype.run([*options, f"model=embedding/{model}", f"hydra.run.dir={tmp_path}/p"])
    assert result.metrics["test/auroc"] > 0.52
    again, x = calotype.load(result.run_dir, checkpoint="best"), torch.rand(5, 3, 16, 16)  # fitted before it was validated
    with torch.no_grad():
        assert torch.equal(again(x), result.module.cpu().eval()(x))
    assert {line.split(",")[1] for line in (result.run_dir / "metrics.csv").read_text().splitlines()[1:]} <= {"0", "1"}


def test_a_fitted_model_sees_each_training_image_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from calotype.models.projection import Projection

    seen = []
    monkeypatch.setattr(Projection, "fit", lambda self, features, labels: seen.append((features, labels)))
    options = [o for o in FACES if not o.startswith(("model.", "trainer.max_epochs"))]
    result = calotype.run([*options, "model=embedding/pca", f"hydra.run.dir={tmp_path}/p", "data.augment.flip=1.0"])
    ((features, labels),) = seen
    data = result.module.trainer.datamodule
    assert torch.equal(features, data.items.pixels(data.train_items).float().flatten(1) / 255)  # nor is it augmented
    assert torch.equal(labels, data.dataset.labels[data.train_items])


def test_collapse_is_told_and_noted(run, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from calotype.models.embedder import Embedder

    plain = Embedder.forward

    def one_point(self: Embedder, images: torch.Tensor) -> Embeddings:
        return 1e-6 * plain(self, images) + torch.eye(16)[0]

    monkeypatch.setattr(Embedder, "forward", one_point)
    with pytest.warns(UserWarning, match="collapse in epoch 2: all embeddings are nearly one point"):
        result = run("loss.mining=batch_hard", "model.standardize=false")
    record = json.loads((result.run_dir / "run.json").read_text())
    assert len(record["alarms"]) == 1
    assert "loss 0.2000 is what one point costs" in record["alarms"][0]


def test_wrong_parts_are_told(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"loss: CrossEntropy takes \(logits, labels\), not \(embeddings, labels\).*arcface"):
        run("loss=cross_entropy")
    with pytest.raises(UserError, match=r"model: SmallResNet gives Logits, not Embeddings.*embedding/small_resnet"):
        calotype.run(["task=facenet", "model=small_resnet"])
    with pytest.raises(UserError, match=r"data: Labelled gives LabelledBatch, not IdentityBatch; task=facenet takes data=identity_batches"):
        calotype.run(["task=facenet", "data=labelled"])


def test_two_processes_have_the_loss_and_gradients_of_one(tmp_path: Path) -> None:
    """The same batch: 4 identities in one process, 2 in each of two. After a step of plain descent the weights agree."""
    options = [
        *[o for o in FACES if not o.startswith("model.")], "model=embedding/mlp", "model.backbone.widths=[16]", "model.standardize=false",
        "optimizer=sgd", "optimizer.lr=0.1", "scheduler=none", "loss=triplet", "loss.mining=all", "loss.margin=1.0", "trainer.max_epochs=1",
        "data.batches_per_epoch=1", "test_with=last", "~callbacks.pictures",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, more in (("one", ["data.identities_per_batch=4"]), ("two", ["data.identities_per_batch=2", "hardware=ddp_cpu"])):
        command = [sys.executable, "-m", "calotype.cli", *options, *more, f"hydra.run.dir={tmp_path}/{name}"]
        subprocess.run(command, check=True, cwd=tmp_path, env=environment, capture_output=True)
    stored = [torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True) for name in ("one", "two")]
    start = calotype.run([*options, "trainer.limit_train_batches=0", f"hydra.run.dir={tmp_path}/start"]).module.state_dict()
    moved = 0.0
    for name, value in stored[0]["state_dict"].items():
        if name.startswith("model."):
            assert torch.allclose(value, stored[1]["state_dict"][name], atol=1e-6), name
            moved = max(moved, (value - start[name]).abs().max().item())
    assert moved > 1e-4
    losses = [
        [float(line.split(",")[3]) for line in (tmp_path / name / "metrics.csv").read_text().splitlines() if ",train/loss," in line]
        for name in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    figures = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    assert figures[0]["test/eer"] == pytest.approx(figures[1]["test/eer"], abs=1e-6)


def test_trains_in_training_mode(run) -> None:  # type: ignore[no-untyped-def]
    """Statistics of BatchNorm move: building the task leaves no part in evaluation mode."""
    state = run("trainer.max_epochs=1", "test_with=last").module.state_dict()
    assert int(state["model.norm.num_batches_tracked"]) > 0
    assert int(state["model.backbone.features.1.num_batches_tracked"]) > 0

"""The contract of a task: it learns, its parts get gradients, the same seed gives the same figures, checkpoints come back."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import calotype
from calotype.run_folder import finite
from calotype.types import UserError


def test_learns_and_leaves_a_whole_run_folder(small_run) -> None:  # type: ignore[no-untyped-def]
    result = small_run("model.widths=[8,16]", "trainer.max_epochs=8", "data.batch_size=32", "optimizer.lr=0.01", "logger=tensorboard")
    assert result.metrics["test/accuracy"] > 0.9
    names = {p.relative_to(result.run_dir).as_posix() for p in result.run_dir.rglob("*") if p.is_file() and "tensorboard" not in p.parts}
    assert names == {
        "config.yaml", "run.json", "run.log", "metrics.json", "metrics.csv", "split.json", "inputs.json",
        "checkpoints/best.ckpt", "checkpoints/last.ckpt",
        "images/curves.png", "images/right.png", "images/wrong.png", "images/confusion_matrix.png",
    }  # fmt: skip
    assert list((result.run_dir / "tensorboard").glob("events*"))
    record = json.loads((result.run_dir / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["split_hash"] == json.loads((result.run_dir / "split.json").read_text())["hash"]
    assert json.loads((result.run_dir / "metrics.json").read_text()) == result.metrics


def test_figures_are_of_the_checkpoint_that_loads(small_run) -> None:  # type: ignore[no-untyped-def]
    """test/accuracy again by hand, from the files of the run alone."""
    result = small_run()
    module = calotype.load(result.run_dir)
    from calotype.datasets.characters import digits

    source = digits()
    names = json.loads((result.run_dir / "split.json").read_text())["test"]
    chosen = torch.tensor([int(name) for name in names])
    with torch.no_grad():
        predicted = module(source.items[chosen].float() / 255).argmax(1)  # type: ignore[index]
    accuracy = (predicted == source.labels[chosen]).float().mean().item()  # type: ignore[index]
    assert accuracy == pytest.approx(result.metrics["test/accuracy"])


def test_same_seed_same_figures_other_seed_others(small_run) -> None:  # type: ignore[no-untyped-def]
    options = ("data.augment.rotate=10", "trainer.max_epochs=1", "data.split_seed=0", "model.dropout=0.2")
    first, second, other = small_run(*options), small_run(*options), small_run(*options, "seed=1")
    assert first.metrics == second.metrics
    assert first.metrics["val/loss"] != other.metrics["val/loss"]


def test_every_trained_parameter_moves(small_run) -> None:  # type: ignore[no-untyped-def]
    before = small_run("trainer.limit_train_batches=0").module.model.state_dict()  # as it is built
    after = small_run("test_with=last", "trainer.max_epochs=1").module.model.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("model", ["nearest_neighbour", "linear"])
def test_baselines_under_the_same_command(small_run, model: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    result = calotype.run([f"model={model}", "hardware=cpu", "logger=none", f"hydra.run.dir={tmp_path}/b"])
    assert result.metrics["test/accuracy"] > 0.9
    again = calotype.load(result.run_dir)
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(again.model(x), result.module.model.to("cpu")(x))  # what was fitted comes back from the checkpoint
    epochs = {line.split(",")[1] for line in (result.run_dir / "metrics.csv").read_text().splitlines()[1:]}
    assert epochs <= {"0", "1"}  # one look at the data, whatever max_epochs says


def test_one_against_the_rest(small_run) -> None:  # type: ignore[no-untyped-def]
    result = small_run("data.positive='7'", "loss.class_weight=balanced")
    for name in ("average_precision", "auroc", "tpr_at_fpr_1e-2", "recall/7", "recall/rest"):
        assert 0 <= result.metrics[f"test/{name}"] <= 1
    assert result.module.loss.weight.tolist() == pytest.approx([0.5556, 5.0], rel=0.01)


def test_points_in_the_plane(tmp_path: Path) -> None:
    options = ["dataset=gaussians_2d", "dataset.num_points=4000", "model=mlp", "trainer.max_epochs=10", "hardware=cpu", "logger=none"]
    assert calotype.run([*options, "optimizer.lr=0.01", f"hydra.run.dir={tmp_path}/g"]).metrics["test/accuracy"] > 0.9


def test_features_learn_slower(small_run) -> None:  # type: ignore[no-untyped-def]
    module = small_run("task.feature_lr_factor=0.1", "scheduler=none", "optimizer.lr=0.01", "debug=fast").module
    groups = module.trainer.optimizers[0].param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.01, 0.001])
    assert {id(p) for p in groups[1]["params"]} == {id(p) for p in module.model.features.parameters()}


def test_mirror_images_are_averaged(small_run) -> None:  # type: ignore[no-untyped-def]
    module = small_run("task.flip_test=true", "debug=fast").module.eval()
    x = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        want = (module.model(x).softmax(1) + module.model(x.flip(-1)).softmax(1)) / 2
        assert torch.allclose(module(x).exp(), want, atol=1e-6)
        assert torch.allclose(module(x), module(x.flip(-1)), atol=1e-6)


def test_without_validation_or_test_side(small_run) -> None:  # type: ignore[no-untyped-def]
    metrics = small_run("data.val_fraction=0").metrics
    assert "test/accuracy" in metrics
    assert not any(name.startswith("val/") for name in metrics)
    metrics = small_run("data.test_fraction=0").metrics
    assert not any(name.startswith("test/") for name in metrics)


def test_a_model_of_somebody_elses_is_checked_by_its_first_batch(small_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"model gives \(64, 3\) for 64 images, classification needs \(64, 10\) logits"):
        calotype.run(["model=mlp", "~model.widths", "model._target_=helpers.ThreeOutputs", f"hydra.run.dir={tmp_path}/t", "logger=none"])


def test_profile_lies_in_the_run_folder(small_run) -> None:  # type: ignore[no-untyped-def]
    folder = small_run("debug=profile", "trainer.limit_train_batches=2").run_dir
    assert "optimizer_step" in (folder / "fit-profile.txt").read_text()


def test_a_metric_that_is_not_a_number_is_written_as_null() -> None:
    assert finite({"b": math.nan, "a": 1.0, "c": math.inf}) == {"a": 1.0, "b": None, "c": None}

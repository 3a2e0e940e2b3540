"""A metric that a run cannot measure is not watched: that is one line before training, not an error after its first epoch."""

from __future__ import annotations

from pathlib import Path

import pytest

import calotype
from calotype.tasks.classification import Classification
from calotype.tasks.gan import GAN
from calotype.types import UserError

PLAIN = ["hardware=cpu", "logger=none", "callbacks=early_stopping", "debug=fast"]
POINTS = ["task=gan", "dataset=gaussians_2d", "dataset.num_points=600", "model=gan/mlp_gan", "model.widths=[8]", "task.samples=100"]
DIGITS = ["task=gan", "model.width=4", "model.latent_size=4", "task.samples=200"]
FACES = ["dataset=synthetic_faces", "dataset.num_identities=12", "dataset.images_per_identity=4", "dataset.size=16"]
FACES += ["data.val_fraction=0.3", "data.identities_per_batch=2"]
MISSING = {
    "val/coverage": (POINTS, "the data are points"),
    "val/modes": (["task=gan", "task.classifier=null", *DIGITS], "points from a known mixture"),
    "val/density": ([*DIGITS, "task.classifier=null"], "task.classifier, which is null"),
    "val/auroc": (["model.widths=[4]"], "it takes two classes, and there are 10"),
    "train/loss": (["model=linear"], "fitted at once"),
    "train/active": (["task=facenet", *FACES, "model.backbone.widths=[4]", "loss=arcface"], "loss chooses no triplets"),
}


@pytest.mark.parametrize("monitor", MISSING)
def test_a_metric_that_the_data_cannot_give(monitor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, reason = MISSING[monitor]
    monkeypatch.setattr("calotype.runner.fit", None)  # nothing is trained
    with pytest.raises(UserError, match=rf"callbacks.early_stopping.monitor={monitor}: this run does not measure it, .*{reason}") as error:
        calotype.run([*options, *PLAIN, f"callbacks.early_stopping.monitor={monitor}", f"hydra.run.dir={tmp_path}/run"])
    assert "\n" not in str(error.value)


def test_few_images_of_a_gan(tmp_path: Path) -> None:
    class Data:
        class dataset:
            centres = None

        split_manifest = {"sizes": {"val": 4}}  # noqa: RUF012

    module = calotype.run(
        [*DIGITS, "task.classifier=null", "debug=fast", "hardware=cpu", "logger=none", f"hydra.run.dir={tmp_path}/a"]
    ).module
    module.judge = object()
    found = GAN.unmeasured(module, Data)
    assert found["val/coverage"] == "it takes 6 validation images, and there are 4"
    assert {"val/frechet_distance", "val/kid", "val/classifier_score"}.isdisjoint(found)
    Data.split_manifest = {"sizes": {"val": 1}}
    assert {"val/frechet_distance", "val/kid"} <= set(GAN.unmeasured(module, Data))
    module.conditional = True
    Data.split_manifest = {"sizes": {"val": 40}}
    assert set(GAN.unmeasured(module, Data)) == {"val/modes", "val/high_quality", "val/mode_kl"}


@pytest.mark.parametrize(("options", "monitor"), [(["data.positive='3'"], "val/auroc"), ([], "val/balanced_accuracy")])
def test_what_is_measured_may_be_watched(options: list[str], monitor: str, tmp_path: Path) -> None:
    watched = [*options, "model.widths=[4]", *PLAIN, f"callbacks.early_stopping.monitor={monitor}", "callbacks.early_stopping.mode=max"]
    result = calotype.run([*watched, f"hydra.run.dir={tmp_path}/run"])
    assert Classification.unmeasured(result.module, result.module.trainer.datamodule).keys().isdisjoint([monitor])
    assert monitor in result.metrics

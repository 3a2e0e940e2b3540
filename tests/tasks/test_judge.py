"""Metrics of generated images by a classifier, of however few images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import calotype
from calotype.tasks.judge import Judge, too_few
from calotype.types import DataSpec

NEIGHBOURS = {"precision", "recall", "density", "coverage"}
DISTANCES = {"frechet_distance", "kid"}
ALWAYS = {"classifier_score", "least_class", "most_class", "real_classifier_score"}


@pytest.fixture(scope="module")
def judge() -> Judge:
    spec = DataSpec((1, 4, 4), ("a", "b"), (1, 1), 1)

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 2))
            self.spec = spec

        def forward(self, images):  # type: ignore[no-untyped-def]
            return self.model(images).log_softmax(1)

    torch.manual_seed(0)
    return Judge(Classifier(), spec)


@pytest.mark.parametrize(("count", "names"), [(1, set()), (2, DISTANCES), (5, DISTANCES), (6, DISTANCES | NEIGHBOURS)])
def test_what_few_images_cannot_give_is_left_out_and_named(judge: Judge, count: int, names: set[str]) -> None:
    """With 50 images a validation of five ended the run by an error of kthvalue, after its classifier was trained."""
    real, drawn, others = torch.rand(3, count, 1, 4, 4).unbind()
    figures = judge.figures(real, drawn, None, others, k=5)
    floor = {"frechet_floor"} if count > 1 else set()
    assert set(figures) == ALWAYS | names | floor
    assert all(torch.tensor(value).isfinite() for value in figures.values())
    for name in NEIGHBOURS | DISTANCES:
        assert (name in too_few(count, 5)) == (name not in figures)


@pytest.mark.slow
def test_a_gan_on_fifty_images(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    few = ["dataset=digits", "data.classes=[0,1]", "data.test_fraction=0.86", "data.val_fraction=0.006", "data.batch_size=16"]
    fast = ["model.width=4", "trainer.max_epochs=1", "hardware=cpu", "logger=none", "data.preprocess.size=16"]
    result = calotype.run(["task=gan", *few, *fast, f"paths.output_dir={tmp_path}", f"hydra.run.dir={tmp_path}/run"])
    assert "val: 2 images are too few for some metrics, which are left out: precision, recall, density" in capsys.readouterr().out
    assert "val/coverage" not in result.metrics
    assert "val/frechet_distance" in result.metrics
    assert "test/coverage" in result.metrics

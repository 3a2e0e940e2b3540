"""Figures of generated data against closed forms, naive loops, torchmetrics, and published values."""

from __future__ import annotations

import math

import pytest
import torch

from calotype.metrics.generation import (
    InceptionDistance,
    class_shares,
    classifier_score,
    frechet_distance,
    kernel_distance,
    mixture_figures,
    neighbour_figures,
)
from calotype.types import UserError


def normal(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_classifier_score_at_its_ends() -> None:
    sure = torch.full((20, 4), -torch.inf)
    sure[torch.arange(20), torch.arange(20) % 4] = 0.0
    assert classifier_score(sure) == pytest.approx(4)
    sure[:] = -torch.inf
    sure[:, 2] = 0.0
    assert classifier_score(sure) == pytest.approx(1)
    assert classifier_score(torch.full((7, 4), -math.log(4))) == pytest.approx(1)


def test_classifier_score_by_hand() -> None:
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    q = p.mean(0)
    want = math.exp(sum((p[i, j] * (p[i, j] / q[j]).log()).item() for i in range(2) for j in range(2)) / 2)
    assert classifier_score(p.log()) == pytest.approx(want)


def test_frechet_of_known_normals() -> None:
    """Exact samples of mean and covariance: whitened draws, coloured again."""
    x = normal(500, 3, 0).double()
    x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    a, b = x * torch.tensor([1.0, 2, 3]), x * torch.tensor([2.0, 2, 1]) + torch.tensor([1.0, 0, 0])
    assert frechet_distance(a, b) == pytest.approx(1 + 1 + 0 + 4, rel=1e-6)  # sum of squared differences of deviations
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_frechet_against_scipy_where_covariances_do_not_commute() -> None:
    from scipy.linalg import sqrtm

    a, b = normal(300, 5, 0) @ normal(5, 5, 1), normal(200, 5, 2) @ normal(5, 5, 3) + 1
    s, t = (torch.cov(z.double().T).numpy() for z in (a, b))
    want = (a.double().mean(0) - b.double().mean(0)).square().sum().item() + (s + t - 2 * sqrtm(s @ t).real).trace()
    assert frechet_distance(a, b) == pytest.approx(want, rel=1e-8)
    assert frechet_distance(a[:3], b[:3]) >= 0  # fewer items than features


def test_kernel_distance_against_a_loop() -> None:
    x, y = normal(6, 3, 0).double(), normal(5, 3, 1).double() + 1

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within = sum(sum(kernel(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j) / (len(z) * (len(z) - 1)) for z in (x, y))
    across = sum(kernel(a, b) for a in x for b in y) / 30
    assert kernel_distance(x, y) == pytest.approx(within - 2 * across)


def test_neighbour_figures_against_a_loop() -> None:
    x, y, k = normal(40, 2, 0), normal(30, 2, 1) * 1.5 + 0.5, 3

    def radius(z: torch.Tensor, i: int) -> float:
        return sorted((z[i] - z[j]).norm().item() for j in range(len(z)) if j != i)[k - 1]

    inside = [[(a - b).norm().item() < radius(x, i) for b in y] for i, a in enumerate(x)]
    want = {
        "precision": sum(any(inside[i][j] for i in range(40)) for j in range(30)) / 30,
        "recall": sum(any((a - b).norm().item() < radius(y, j) for j, b in enumerate(y)) for a in x) / 40,
        "density": sum(map(sum, inside)) / (k * 30),
        "coverage": sum(any(row) for row in inside) / 40,
    }
    assert neighbour_figures(x, y, k=k) == pytest.approx(want)


def test_neighbour_figures_of_normals_are_the_published_ones() -> None:
    """10000 points in 1000 dimensions, k 5 (Naeem et al., their code's example): 0.477, 0.471, 1.056, 0.974."""
    found = neighbour_figures(normal(10000, 1000, 0), normal(10000, 1000, 1))
    assert found["precision"] == pytest.approx(0.477, abs=0.02)
    assert found["recall"] == pytest.approx(0.471, abs=0.02)
    assert found["density"] == pytest.approx(1.056, abs=0.08)  # a few far-reaching balls decide
    assert found["coverage"] == pytest.approx(0.974, abs=0.01)


def test_one_point_has_no_recall_nor_coverage() -> None:
    found = neighbour_figures(normal(200, 2, 0), torch.zeros(50, 2))
    assert found["recall"] == 0
    assert found["coverage"] < 0.2


def test_mixture_figures_by_hand() -> None:
    centres = torch.tensor([[0.0, 0], [10, 0], [0, 10], [10, 10]])
    points = torch.tensor([[0.0, 0.29], [0.1, 0], [10, 0], [0, 10.31], [5, 5]])
    found = mixture_figures(points, centres, 0.1)
    assert found["modes"] == 2
    assert found["high_quality"] == pytest.approx(3 / 5)
    assert found["mode_kl"] == pytest.approx(2 / 3 * math.log(2 / 3 / 0.25) + 1 / 3 * math.log(1 / 3 / 0.25))
    assert mixture_figures(points[4:], centres, 0.1) == {"modes": 0, "high_quality": 0, "mode_kl": pytest.approx(math.log(4))}
    assert mixture_figures(centres, centres, 0.1) == {"modes": 4, "high_quality": 1, "mode_kl": pytest.approx(0, abs=1e-12)}


def test_class_shares() -> None:
    log_p = torch.tensor([[0.9, 0.1, 0.0]] * 3 + [[0.1, 0.9, 0.0]]).log()
    assert class_shares(log_p) == {"least_class": 0, "most_class": 0.75}


class Means(torch.nn.Module):
    """Features of an image: the means of its quarters."""

    num_features = 12

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1)


def test_inception_distance_is_that_of_its_features(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchmetrics.image import fid

    real_one = fid.FrechetInceptionDistance

    def stand_in(normalize: bool, feature_extractor_weights_path: str | None) -> fid.FrechetInceptionDistance:
        assert feature_extractor_weights_path == "some.pth"
        return real_one(feature=Means(), normalize=normalize)

    monkeypatch.setattr(fid, "FrechetInceptionDistance", stand_in)
    torch.manual_seed(0)
    real, drawn = torch.rand(230, 3, 8, 8), torch.rand(130, 3, 8, 8) ** 2
    distance = InceptionDistance("some.pth")
    want = frechet_distance(Means()(real), Means()(drawn))
    assert distance(real, drawn) == pytest.approx(want, rel=1e-3)
    assert distance(real, drawn) == pytest.approx(want, rel=1e-3)  # nothing is left from the first time
    grey = [images[:, :1].expand(-1, 3, -1, -1) for images in (real, drawn)]
    assert distance(real[:, :1], drawn[:, :1]) == pytest.approx(frechet_distance(*map(Means(), grey)), rel=1e-3)


def test_inception_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"task.inception=download: (needs torch-fidelity: pip install|no weights)"):
        InceptionDistance("download")

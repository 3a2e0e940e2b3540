"""Patch distance against SciPy, and the ends of its scale."""

from __future__ import annotations

import pytest
import scipy.stats
import torch
from torch.nn import functional as F

from calotype.metrics.style import luma, luma_ssim, patch_distance


def picture(seed: int, height: int = 24, width: int = 20) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_patch_distance_is_the_mean_distance_of_projections() -> None:
    first, second = picture(0, 20, 20), picture(1, 20, 20) * 0.5
    found = patch_distance(first, second, side=3, patches=10**6, directions=4000).item()
    generator = torch.Generator().manual_seed(7)
    sets = [F.unfold(x.double(), 3)[0].T for x in (first, second)]
    axes = F.normalize(torch.randn(27, 400, generator=generator, dtype=torch.float64), dim=0)
    one_by_one = [scipy.stats.wasserstein_distance((sets[0] @ axis).numpy(), (sets[1] @ axis).numpy()) for axis in axes.T]
    assert found == pytest.approx(sum(one_by_one) / len(one_by_one), rel=0.1)


def test_patch_distance_of_greys_and_of_the_same() -> None:
    one = picture(0)
    assert patch_distance(one, one).item() == 0
    assert patch_distance(one, one.flip(2, 3)).item() < 0.05 < patch_distance(one, torch.zeros_like(one)).item()
    greys = [torch.full((1, 3, 16, size), level) for level, size in ((0.25, 16), (0.75, 31))]
    assert patch_distance(*greys, directions=20000).item() == pytest.approx(0.8 * 0.5, rel=0.03)


def test_patch_distance_is_seeded() -> None:
    images = picture(0, 64, 64), picture(1, 64, 64) ** 2
    assert patch_distance(*images, patches=500).item() == patch_distance(*images, patches=500).item()
    assert patch_distance(*images, patches=500, seed=1).item() != patch_distance(*images, patches=500).item()


def test_luma() -> None:
    colours = torch.eye(3).view(1, 3, 1, 3)  # red, green, blue
    assert luma(colours)[0, 0, 0].tolist() == pytest.approx([0.299, 0.587, 0.114])
    one = picture(0)
    assert luma_ssim(one, one).item() == pytest.approx(1)
    assert luma_ssim(one, picture(1)).item() < 0.3

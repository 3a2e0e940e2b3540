"""PSNR and SSIM against scikit-image; figures of a run with known outputs; yardsticks do what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import skimage.data
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from calotype.metrics.classical_restoration import denoised, enlarged, filled
from calotype.metrics.restoration import psnr, restoration, ssim
from calotype.types import SingleImageBatch


def image(size: int = 96) -> torch.Tensor:
    return torch.from_numpy(skimage.data.astronaut()[:size, 150 : 150 + size]).permute(2, 0, 1)[None].float() / 255


def noisy(clean: torch.Tensor, sigma: float) -> torch.Tensor:
    return (clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def test_psnr_and_ssim_are_scikit_images() -> None:
    clean = image()
    other = noisy(clean, 0.1)
    a, b = (x[0].permute(1, 2, 0).double().numpy() for x in (clean, other))
    assert psnr(other, clean).item() == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), abs=1e-6)
    want = structural_similarity(a, b, data_range=1, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    assert ssim(other, clean).item() == pytest.approx(want, abs=1e-4)
    assert math.isinf(psnr(clean, clean).item())
    assert ssim(clean, clean).item() == pytest.approx(1)


def test_over_holes_alone() -> None:
    clean, other = torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    other[..., :4, :] = 0.1
    where = torch.zeros(1, 1, 16, 16)
    where[..., :4, :] = 1
    assert psnr(other, clean, where).item() == pytest.approx(20)
    assert psnr(other, clean).item() == pytest.approx(20 + 10 * math.log10(4))
    assert ssim(clean, clean, where).item() == pytest.approx(1)


def figures_of(clean: torch.Tensor, observed: torch.Tensor, known: torch.Tensor, **curves: list[list[float]]) -> dict[str, float]:
    batch = SingleImageBatch(observed, known, clean, torch.zeros(1, 2, dtype=torch.int64))
    names = ("loss", "variance", "psnr", "psnr_average", "hole_psnr_average")
    columns = {name: torch.tensor(curves.get(name, [[math.nan] * 3] * 2)) for name in names}
    outputs = dict.fromkeys(("at_stop", "ema", "last"), observed)
    found = restoration(batch, outputs, yardsticks={"nlm": observed}, curves=columns, kept_at=torch.tensor([2, 3]))
    return dict(found.figures)


def test_figures() -> None:
    clean = image(32)
    observed = noisy(clean, 0.1)
    known = torch.ones(1, 1, 32, 32)
    figures = figures_of(
        clean, observed, known, loss=[[1.0, 1.0, math.nan], [1.0, 1.0, 1.0]], psnr_average=[[10.0, 20.0, math.nan], [30.0, 20.0, 10.0]]
    )
    assert figures["iterations"] == 5
    assert figures["iterations_at_stop"] == 2.5
    assert (
        figures["psnr_at_stop"] == figures["psnr_observed"] == figures["baseline/nlm_psnr"] == pytest.approx(psnr(observed, clean).item())
    )
    assert figures["psnr_peak"] == pytest.approx(-10 * math.log10((1e-2 + 1e-3) / 2))  # of squared errors, not of decibels
    assert not any(name.startswith("hole") for name in figures)
    known[..., 3:9, 3:9] = 0
    assert {"hole_psnr_at_stop", "hole_ssim_at_stop", "baseline/hole_nlm_psnr"} <= set(figures_of(clean, observed, known))


def test_without_a_clean_image_only_what_is_known() -> None:
    observed = image(32)
    figures = figures_of(observed[:0], observed, torch.ones(1, 1, 32, 32), loss=[[1.0] * 3] * 2)
    assert set(figures) == {"iterations", "iterations_at_stop"}


@pytest.mark.parametrize("grey", [False, True])
def test_yardsticks_of_noise_are_better_than_nothing(grey: bool) -> None:
    clean = image()[:, :1] if grey else image()
    observed = noisy(clean, 0.1)
    for sigma in (0.1, None):
        found = denoised(observed, sigma)
        assert {"nlm", "tv", "wavelet"} <= set(found)
        for name, result in found.items():
            assert result.shape == clean.shape
            assert psnr(result, clean) > psnr(observed, clean) + 3, name
    assert denoised(observed, 0.0) == {}


@pytest.mark.parametrize("grey", [False, True])
def test_yardsticks_of_holes_fill_them(grey: bool) -> None:
    clean = image()[:, :1] if grey else image()
    known = torch.from_numpy(np.random.default_rng(0).random((96, 96)) < 0.5)[None, None].float()
    found = filled(clean * known, known)
    assert "biharmonic" in found
    for name, result in found.items():
        assert psnr(result, clean, 1 - known) > 20, name
        assert torch.allclose(result * known, clean * known, atol=1 / 255), name


def test_enlarged() -> None:
    small = torch.nn.functional.avg_pool2d(image(), 4)
    assert psnr(enlarged(small, 4)["bicubic"], image()) > 20

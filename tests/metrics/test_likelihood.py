"""Yardsticks for likelihoods by hand."""

from __future__ import annotations

import math

import pytest
import torch

from calotype.metrics.likelihood import independent_pixels, png_bits


def test_independent_pixels_by_hand() -> None:
    train = torch.tensor([[0, 1], [0, 1], [1, 1]]).view(3, 1, 1, 2)
    test = torch.tensor([[0, 0]]).view(1, 1, 1, 2)
    want = -(math.log2(3 / 5) + math.log2(1 / 5)) / 2
    assert independent_pixels(train, test, 2) == pytest.approx(want)
    assert independent_pixels(train, test[..., :1].expand(1, 1, 1, 2), 4) == pytest.approx(-(math.log2(3 / 7) + math.log2(1 / 7)) / 2)


@pytest.mark.parametrize(("levels", "channels"), [(2, 1), (16, 1), (256, 1), (256, 3)])
def test_png_takes_what_noise_holds_and_little_for_nothing(levels: int, channels: int) -> None:
    noise = torch.randint(0, levels, (3, channels, 64, 64), generator=torch.Generator().manual_seed(0))
    assert math.log2(levels) < png_bits(noise, levels) < math.log2(levels) * 1.1 + 0.7
    assert png_bits(noise[:, :, :2, :2].repeat(64, 1, 1, 1), levels) < math.log2(levels) * 1.5 + 4  # small images share one header
    assert png_bits(torch.zeros(3, channels, 64, 64, dtype=torch.int64), levels) < 0.3

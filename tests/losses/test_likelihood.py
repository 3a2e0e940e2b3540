"""Likelihoods: against hand calculations, that they sum to one, and that draws follow them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from calotype.losses.likelihood import CrossEntropy, LogisticMixture, to_levels
from calotype.types import UserError


def test_cross_entropy_by_hand() -> None:
    logits = torch.zeros(1, 3, 1, 1, 2)
    logits[0, 2, 0, 0, 0] = math.log(2)
    images = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    want = -math.log(2 / 4) - math.log(1 / 3)
    assert CrossEntropy(levels=3)(logits, images).item() == pytest.approx(want, rel=1e-6)


def test_levels_go_there_and_back() -> None:
    for levels in (2, 16, 256):
        k = torch.arange(levels)
        assert torch.equal(to_levels(k / (levels - 1), levels), k)


def parameters(channels: int, seed: int, mixtures: int = 3, size: int = 1) -> torch.Tensor:
    count = mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)
    return torch.randn(1, count, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_a_mixture_sums_to_one_over_the_levels(levels: int) -> None:
    loss = LogisticMixture(levels=levels)
    for seed in range(3):
        predicted = parameters(1, seed).expand(levels, -1, -1, -1)
        images = (torch.arange(levels) / (levels - 1)).view(-1, 1, 1, 1)
        assert torch.exp(-loss(predicted, images)).sum().item() == pytest.approx(1, abs=2e-3)


def test_a_mixture_in_colour_sums_to_one() -> None:
    """Over all 4^3 colours: G's mean follows R, and B's both."""
    loss = LogisticMixture(levels=4)
    k = torch.arange(4) / 3
    images = torch.cartesian_prod(k, k, k).view(64, 3, 1, 1)
    predicted = parameters(3, 0).expand(64, -1, -1, -1)
    assert torch.exp(-loss(predicted, images)).sum().item() == pytest.approx(1, abs=2e-3)


def test_one_logistic_by_hand() -> None:
    mean, log_scale, levels = 0.1, -1.5, 5
    predicted = torch.tensor([0.0, mean, log_scale]).view(1, 3, 1, 1)
    found = [math.exp(-LogisticMixture(levels=levels)(predicted, torch.full((1, 1, 1, 1), k / 4)).item()) for k in range(levels)]

    def cdf(x: float) -> float:
        return 1 / (1 + math.exp(-(x - mean) / math.exp(log_scale)))

    borders = [-0.75, -0.25, 0.25, 0.75]
    want = [cdf(borders[0]), *(cdf(b) - cdf(a) for a, b in itertools.pairwise(borders)), 1 - cdf(borders[-1])]
    assert found == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_draws_follow_the_likelihood(channels: int) -> None:
    levels, n = 3, 60_000
    loss = LogisticMixture(levels=levels)
    predicted = parameters(channels, 4)
    uniform = torch.rand(n, loss.draws(channels), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    given = torch.full((n, channels), torch.nan)
    drawn = loss.draw(predicted[..., 0, 0].expand(n, -1), given, uniform, 0, 1.0)
    k = torch.arange(levels) / (levels - 1)
    all_of_them = torch.cartesian_prod(*[k] * channels).view(-1, channels, 1, 1)
    p = torch.exp(-loss(predicted.expand(len(all_of_them), -1, -1, -1), all_of_them))
    place = sum((drawn[:, c] * (levels - 1)).round().long() * levels ** (channels - 1 - c) for c in range(channels))
    counts = torch.bincount(place, minlength=len(p)) / n  # type: ignore[arg-type]
    assert (counts - p).abs().max() < 0.01


def test_categorical_draws_follow_their_logits() -> None:
    loss = CrossEntropy(levels=4)
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5]).view(1, 4, 1).expand(40_000, -1, -1)
    uniform = torch.rand(40_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = loss.draw(logits, torch.full((40_000, 1), torch.nan), uniform, 0, 1.0)
    counts = torch.bincount(to_levels(drawn[:, 0], 4), minlength=4) / 40_000
    assert (counts - logits[0, :, 0].softmax(0)).abs().max() < 0.01


def test_far_parameters_stay_finite() -> None:
    loss = LogisticMixture(levels=256)
    for value in (-60.0, 60.0):
        predicted = torch.full((1, 12, 2, 2), value, requires_grad=True)
        nats = loss(predicted, torch.rand(1, 1, 2, 2)).sum()
        assert nats.isfinite()
        assert torch.autograd.grad(nats, predicted)[0].isfinite().all()


def test_parameters_that_are_no_mixture() -> None:
    with pytest.raises(UserError, match="no mixture"):
        LogisticMixture(levels=4)(torch.zeros(1, 11, 2, 2), torch.zeros(1, 3, 2, 2))

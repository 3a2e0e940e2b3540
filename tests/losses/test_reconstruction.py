"""Losses of task dip by hand, and SURE against the error that it estimates."""

from __future__ import annotations

import pytest
import torch

from calotype.losses.reconstruction import MeanAbsoluteError, MeanSquaredError
from calotype.losses.sure import Sure


def test_holes_count_as_nothing() -> None:
    output = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 2, 2)
    observed = torch.zeros(1, 1, 2, 2)
    known = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    assert MeanSquaredError()(output, observed, known).item() == pytest.approx((1 + 4) / 4)
    assert MeanAbsoluteError()(output, observed, known).item() == pytest.approx((1 + 2) / 4)
    output.requires_grad_()
    MeanSquaredError()(output, observed, known).backward()
    assert output.grad is not None
    assert (output.grad[0, 0, 1] == 0).all()


@pytest.mark.parametrize("shrink", [0.0, 0.3, 0.8, 1.0])
def test_sure_estimates_the_error_against_the_clean_image(shrink: float) -> None:
    """Of a linear network y -> a y the error is known: (1 - a)^2 E[x^2] + a^2 sigma^2."""
    generator = torch.Generator().manual_seed(0)
    sigma = 25 / 255
    clean = torch.rand(1, 3, 200, 200, generator=generator)
    observed = clean + sigma * torch.randn(clean.shape, generator=generator)
    torch.manual_seed(1)
    loss = Sure(sigma=25.0)
    output = shrink * observed
    found = loss(output, observed, torch.ones(1, 1, 200, 200)) + loss.penalty(lambda y: shrink * y, observed, output)
    assert found.item() == pytest.approx((output - clean).square().mean().item(), abs=1e-3)


def test_sure_needs_noise() -> None:
    with pytest.raises(ValueError, match="sigma"):
        Sure(sigma=0.0)

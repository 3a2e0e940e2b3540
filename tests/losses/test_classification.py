from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from calotype.losses.classification import CrossEntropy, Focal, class_weights
from calotype.types import UserError

COUNTS = (30, 10, 60)


def naive_cross_entropy(logits, labels, weight, smoothing):  # type: ignore[no-untyped-def]
    """Sum over classes and examples, as written in the docstring."""
    total, weights = 0.0, 0.0
    k = logits.shape[1]
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        log_z = math.log(sum(math.exp(v) for v in row))
        for c, value in enumerate(row):
            q = smoothing / k + (1 - smoothing) * (c == label)
            total -= weight[label] * q * (value - log_z)
        weights += weight[label]
    return total / weights


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return 3 * torch.randn(16, 3), torch.randint(0, 3, (16,))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weight", ["none", "balanced", [1.0, 2.0, 0.5]])
def test_cross_entropy_against_the_sum(batch, smoothing, weight) -> None:  # type: ignore[no-untyped-def]
    loss = CrossEntropy(COUNTS, label_smoothing=smoothing, class_weight=weight)
    w = [1.0] * 3 if loss.weight is None else loss.weight.tolist()
    assert loss(*batch).item() == pytest.approx(naive_cross_entropy(*batch, w, smoothing), rel=1e-5)


def test_smoothing_does_not_move_the_targets_towards_rare_classes() -> None:
    """At the target's own probabilities the gradient is 0, whatever the weights."""
    logits = torch.tensor([[0.95, 0.05]]).log().requires_grad_()
    CrossEntropy((90, 10), label_smoothing=0.1, class_weight="balanced")(logits, torch.tensor([0])).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


def test_balanced_weights_are_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    y = [0] * 30 + [1] * 10 + [2] * 60
    weights = class_weights(COUNTS, "balanced")
    assert weights is not None
    assert weights.tolist() == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=y).tolist())


def test_focal_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0]])  # p = 3/4, 1/4
    assert Focal((1, 1), gamma=2)(logits, torch.tensor([0])).item() == pytest.approx(0.25**2 * -math.log(0.75), rel=1e-6)
    assert Focal((1, 1), gamma=2)(logits, torch.tensor([1])).item() == pytest.approx(0.75**2 * -math.log(0.25), rel=1e-6)


@pytest.mark.parametrize("weight", ["none", "balanced"])
def test_focal_without_focus_is_cross_entropy(batch, weight) -> None:  # type: ignore[no-untyped-def]
    assert Focal(COUNTS, gamma=0, class_weight=weight)(*batch).item() == pytest.approx(
        CrossEntropy(COUNTS, class_weight=weight)(*batch).item()
    )


@pytest.mark.parametrize("loss", [CrossEntropy(COUNTS), Focal(COUNTS, gamma=0.5), Focal(COUNTS, gamma=2), Focal(COUNTS)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_gradients_are_finite_even_where_it_is_sure(loss: torch.nn.Module, scale: float) -> None:
    for label in (0, 1):
        logits = (scale * torch.tensor([[1.0, 0.0, -1.0]])).requires_grad_()
        loss(logits, torch.tensor([label])).backward()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


def test_half_precision_is_computed_in_single(batch) -> None:  # type: ignore[no-untyped-def]
    logits, labels = batch
    assert CrossEntropy(COUNTS)(logits.bfloat16(), labels).dtype == torch.float32


def test_refuses() -> None:
    for build in (
        lambda: CrossEntropy(COUNTS, label_smoothing=1.0),
        lambda: Focal(COUNTS, gamma=-1),
        lambda: CrossEntropy(COUNTS, class_weight=[1.0, 2.0]),
        lambda: CrossEntropy(COUNTS, class_weight=[0.0, 0.0, 0.0]),
    ):
        with pytest.raises(UserError, match="loss"):
            build()

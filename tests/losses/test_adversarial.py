"""Adversarial losses against hand calculations, and their penalties against slopes that are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from calotype.losses.adversarial import Hinge, LeastSquares, Minimax, NonSaturating, Wasserstein, r1_penalty, slope_penalty
from calotype.types import UserError

REAL, GENERATED = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0, 0.0])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_non_saturating() -> None:
    want = mean([-math.log(sigmoid(x)) for x in REAL.tolist()]) + mean([-math.log(1 - sigmoid(x)) for x in GENERATED.tolist()])
    loss = NonSaturating()
    assert loss(REAL, GENERATED).item() == pytest.approx(want, rel=1e-6)
    assert loss.generator(GENERATED).item() == pytest.approx(mean([-math.log(sigmoid(x)) for x in GENERATED.tolist()]), rel=1e-6)


def test_minimax_is_the_negative_of_what_the_discriminator_gains() -> None:
    want = mean([math.log(1 - sigmoid(x)) for x in GENERATED.tolist()])
    assert Minimax().generator(GENERATED).item() == pytest.approx(want, rel=1e-6)
    assert Minimax()(REAL, GENERATED) == NonSaturating()(REAL, GENERATED)
    sure = torch.tensor([-20.0], requires_grad=True)
    slopes = [torch.autograd.grad(loss.generator(sure), sure)[0].item() for loss in (Minimax(), NonSaturating())]
    assert abs(slopes[0]) < 1e-8
    assert slopes[1] == pytest.approx(-1, abs=1e-6)


def test_least_squares() -> None:
    assert LeastSquares()(REAL, GENERATED).item() == pytest.approx(0.5 * (1 + 4) / 2 + 0.5 * (0.25 + 9 + 0) / 3)
    assert LeastSquares().generator(GENERATED).item() == pytest.approx(0.5 * (0.25 + 16 + 1) / 3)
    assert LeastSquares(real_label=0.9)(REAL, GENERATED[2:]).item() == pytest.approx(0.5 * (1.1**2 + 1.9**2) / 2)


def test_hinge() -> None:
    assert Hinge()(REAL, GENERATED).item() == pytest.approx((0 + 2) / 2 + (1.5 + 0 + 1) / 3)
    assert Hinge().generator(GENERATED).item() == pytest.approx(2.5 / 3)


def test_wasserstein() -> None:
    loss = Wasserstein(clip=0.01)
    assert loss(REAL, GENERATED).item() == pytest.approx(-2.5 / 3 - 0.5)
    assert loss.generator(GENERATED).item() == pytest.approx(2.5 / 3)


def test_smoothed_labels() -> None:
    """A label t costs the cross entropy of t, so the best logit is log t / (1 - t) and no longer without bound."""
    loss = NonSaturating(real_label=0.9)
    nothing = torch.tensor([-100.0])
    want = mean([-0.9 * math.log(sigmoid(x)) - 0.1 * math.log(1 - sigmoid(x)) for x in REAL.tolist()])
    assert loss(REAL, nothing).item() == pytest.approx(want, rel=1e-6)
    best = torch.tensor([math.log(9.0)], requires_grad=True)
    assert torch.autograd.grad(loss(best, nothing), best)[0].abs().item() < 1e-6
    torch.manual_seed(0)
    ranged = NonSaturating(real_label=[0.7, 1.0])
    costs = torch.stack([ranged(torch.tensor([5.0]), nothing) for _ in range(300)])
    low, high = (NonSaturating(real_label=label)(torch.tensor([5.0]), nothing) for label in (1.0, 0.7))
    assert low < costs.min() < costs.max() < high
    assert costs.mean().item() == pytest.approx((low + high).item() / 2, rel=0.05)  # a draw for every image, even over the range


@pytest.mark.parametrize("loss", [NonSaturating, Minimax, LeastSquares])
@pytest.mark.parametrize("label", [0.5, 1.1, [0.9, 0.7], [0.7], [0.7, 0.8, 0.9]])
def test_labels_beyond_reason(loss: type, label: object) -> None:
    with pytest.raises(UserError, match=r"loss\.real_label"):
        loss(real_label=label)


def test_far_logits_stay_finite() -> None:
    far = torch.tensor([1e4, -1e4], requires_grad=True)
    for loss in (NonSaturating(), Minimax(), Hinge(), LeastSquares(), Wasserstein(clip=1.0)):
        total = loss(far, far) + loss.generator(far)
        assert total.isfinite()
        assert torch.autograd.grad(total, far)[0].isfinite().all()


@pytest.mark.parametrize("options", [{}, {"clip": 0.0}, {"clip": 0.1, "gradient_penalty": 10.0}, {"gradient_penalty": -1.0}])
def test_a_critic_takes_one_bound(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"loss\.clip"):
        Wasserstein(**options)


def test_slope_penalty_of_a_plane() -> None:
    """|slope| of w.x is |w| everywhere, over all values of an image and not channel by channel."""
    weight = torch.tensor([3.0, 0, 0, 4.0]).view(1, 4)
    images = torch.rand(5, 1, 2, 2)

    def critic(x: torch.Tensor) -> torch.Tensor:
        return (x.flatten(1) * weight).sum(1)

    assert slope_penalty(critic, images, images.flip(0)).item() == pytest.approx(16, rel=1e-4)
    assert r1_penalty(critic, images).item() == pytest.approx(12.5, rel=1e-5)


def test_slope_is_taken_between_real_and_generated() -> None:
    """The slope of |x|^2 / 2 is x, which tells where it was taken: one share of the way for a whole image."""
    seen = []

    def critic(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.detach())
        return 0.5 * x.square().flatten(1).sum(1)

    torch.manual_seed(0)
    real, generated = torch.zeros(500, 1, 2, 2), torch.ones(500, 1, 2, 2)
    penalty = slope_penalty(critic, real, generated)
    share = seen[0].flatten(1)
    assert (share == share[:, :1]).all()
    assert 0 <= share.min() < 0.05
    assert 0.95 < share.max() <= 1
    assert penalty.item() == pytest.approx((2 * share[:, 0] - 1).square().mean().item(), rel=1e-3)


def test_penalties_reach_the_weights() -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    images = torch.rand(6, 1, 2, 2)
    for penalty in (slope_penalty(lambda x: critic(x)[:, 0], images, images.flip(0)), r1_penalty(lambda x: critic(x)[:, 0], images)):
        critic.zero_grad()
        penalty.backward()
        slope = critic[1].weight.grad
        assert slope is not None
        assert slope.abs().sum() > 0
    flat = slope_penalty(lambda x: (x * 0).flatten(1).sum(1), images, images)  # a critic that says nothing
    assert flat.item() == pytest.approx(1, abs=1e-4)

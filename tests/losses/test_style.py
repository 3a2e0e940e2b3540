"""Style losses against naive loops, and against closed forms of another library."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from calotype.losses.style import AdaIN, Gram, Wasserstein, content_distance, total_variation

LOSSES = [Gram(), Gram(normalise="elements"), Wasserstein(), AdaIN()]


def maps(seed: int, channels: int = 5, height: int = 6, width: int = 7) -> Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


def test_gram_is_the_papers_by_loops() -> None:
    found, wanted = maps(0), maps(1)
    f, a = (x[0].double().flatten(1).numpy() for x in (found, wanted))
    channels, positions = f.shape
    total = 0.0
    for i in range(channels):
        for j in range(channels):
            difference = sum(f[i, k] * f[j, k] for k in range(positions)) - sum(a[i, k] * a[j, k] for k in range(positions))
            total += difference**2
    loss = Gram(normalise="elements")
    by_hand = total / (2 * channels * positions) ** 2
    assert loss(loss.statistics(found), loss.statistics(wanted)).item() == pytest.approx(by_hand, rel=1e-4)
    energy = Gram()
    gram = a @ a.T / positions
    by_hand = ((f @ f.T / positions - gram) ** 2).sum() / (gram**2).sum()
    assert energy(energy.statistics(found), energy.statistics(wanted)).item() == pytest.approx(by_hand, rel=1e-4)


def test_wasserstein_is_the_distance_of_normal_distributions() -> None:
    found, wanted = maps(0), maps(1) * 2
    f, a = (x[0].double().flatten(1).numpy() for x in (found, wanted))
    s, t = np.cov(f, bias=True), np.cov(a, bias=True)
    root = scipy.linalg.sqrtm(t)
    apart = np.trace(s + t - 2 * scipy.linalg.sqrtm(root @ s @ root).real)
    m, n = f.mean(1), a.mean(1)
    by_hand = (((m - n) ** 2).sum() + apart) / ((n**2).sum() + np.trace(t))
    loss = Wasserstein()
    assert loss(loss.statistics(found), loss.statistics(wanted)).item() == pytest.approx(by_hand, rel=1e-4)


def test_adain_is_means_and_deviations() -> None:
    found, wanted = maps(0), maps(1)
    f, a = (x[0].double().flatten(1).numpy() for x in (found, wanted))
    difference = ((f.mean(1) - a.mean(1)) ** 2).sum() + ((f.std(1) - a.std(1)) ** 2).sum()
    loss = AdaIN()
    by_hand = difference / ((a.mean(1) ** 2).sum() + (a.std(1) ** 2).sum())
    assert loss(loss.statistics(found), loss.statistics(wanted)).item() == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_nothing_to_gain_at_the_style_itself_whatever_its_size(loss: torch.nn.Module) -> None:
    style = maps(1)
    twice = torch.cat([style, style.flip(3)], 2)  # the same features at other places, twice
    one, two = loss.statistics(style), loss.statistics(twice)  # type: ignore[operator]
    assert loss(one, one).item() == pytest.approx(0, abs=1e-6)
    assert loss(two, one).item() == pytest.approx(0, abs=1e-5)
    assert loss(loss.statistics(maps(0)), one).item() > 1e-4  # type: ignore[operator]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_mask_leaves_out_what_it_covers(loss: torch.nn.Module) -> None:
    features = maps(2, height=6)
    mask = torch.zeros(1, 1, 6, 7)
    mask[..., :3, :] = 1
    masked, half = loss.statistics(features, mask), loss.statistics(features[..., :3, :])  # type: ignore[operator]
    for name, value in masked.items():
        torch.testing.assert_close(value, half[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("kind", ["zeros", "constant", "one position", "dead channels"])
def test_degenerate_features_have_a_finite_loss_and_slope(loss: torch.nn.Module, kind: str) -> None:
    wanted = maps(1)
    found = maps(0)
    if kind == "zeros":
        found = torch.zeros_like(found)
    elif kind == "constant":
        found = torch.ones_like(found)
    elif kind == "one position":
        found, wanted = found[..., :1, :1], wanted[..., :1, :1]
    else:
        wanted = wanted * torch.tensor([1.0, 0, 0, 0, 0]).view(1, 5, 1, 1)
    found.requires_grad_()
    distance = loss(loss.statistics(found), loss.statistics(wanted))  # type: ignore[operator]
    distance.backward()
    assert distance.isfinite()
    assert found.grad is not None
    assert found.grad.isfinite().all()


def test_wasserstein_slope_is_that_of_the_loss() -> None:
    loss, wanted = Wasserstein(), maps(1, 3)
    target = {name: value.double() for name, value in loss.statistics(wanted).items()}
    found = maps(0, 3, 4, 4).requires_grad_()
    value = loss(loss.statistics(found), target)
    value.backward()
    assert found.grad is not None
    step = 1e-2 * torch.randn(found.shape, generator=torch.Generator().manual_seed(3))
    ahead, behind = (loss(loss.statistics(found.detach() + sign * step), target).item() for sign in (1, -1))
    assert (ahead - behind) / 2 == pytest.approx((found.grad * step).sum().item(), rel=0.02)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_gram_slope_is_autograds(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 5, 7, 6).to(dtype)
    weight = torch.randn(5, 5)  # not symmetric, as no loss's need be
    slopes = []
    for statistic in (lambda x: Gram().statistics(x)["gram"], lambda x: x[0].flatten(1).float() @ x[0].flatten(1).float().T / 42):
        x = features.clone().requires_grad_()
        (statistic(x) * weight).sum().backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        assert x.grad.dtype is dtype
        slopes.append(x.grad.float())
    assert (slopes[0] - slopes[1]).norm() < tolerance * slopes[1].norm()


def test_content_distance() -> None:
    found, wanted = maps(0), maps(1)
    squared = 0.5 * sum((float(a) - float(b)) ** 2 for a, b in zip(found.flatten(), wanted.flatten(), strict=True))
    assert content_distance(found, wanted, normalise=False).item() == pytest.approx(squared, rel=1e-5)
    energy = sum(float(b) ** 2 for b in wanted.flatten())
    assert content_distance(found, wanted).item() == pytest.approx(squared / energy, rel=1e-5)
    assert content_distance(wanted, wanted).item() == 0
    assert content_distance(found, torch.zeros_like(wanted)).isfinite()


def test_total_variation() -> None:
    image = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])[None, None]
    down = (0 + 1 + 0) / 3
    across = (1 + 0 + 0 + 1) / 4
    assert total_variation(image).item() == pytest.approx(down + across)
    assert total_variation(torch.ones(1, 3, 1, 1)).item() == 0

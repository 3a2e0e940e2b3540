"""The rule that stops a deep image prior: the recursion against a loop, and what it keeps of outputs that settle and then move."""

from __future__ import annotations

import pytest
import torch

from calotype.tasks.stopping import FixedStop, HeldOutStop, VarianceStop
from calotype.types import UserError


def test_variance_is_that_of_exponential_weights() -> None:
    """The recursion gives the variance under weights a (1 - a)^k, the first output having all that is left."""
    outputs = torch.rand(40, 1, 2, 3, generator=torch.Generator().manual_seed(0)).double().float()
    rule = VarianceStop((1, 2, 3), weight=0.2, start=0, patience=100)
    for n, output in enumerate(outputs):
        rule.update(output[None])
        weights = torch.tensor([0.2 * 0.8 ** (n - k) if k else 0.8**n for k in range(n + 1)])
        mean = (weights.view(-1, 1, 1, 1) * outputs[: n + 1]).sum(0)
        want = (weights.view(-1, 1, 1, 1) * (outputs[: n + 1] - mean).square()).sum(0).mean()
        assert weights.sum().item() == pytest.approx(1, abs=1e-5)
        assert rule.variance.item() == pytest.approx(want.item(), abs=1e-5)


def settle_and_move(n: int) -> torch.Tensor:
    """An output that settles until iteration 100 and wanders from then on."""
    noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(n))
    return noise * (abs(n - 100) / 100 + 0.01)


def test_keeps_the_quietest_and_stops_after_its_patience() -> None:
    rule = VarianceStop((3, 8, 8), weight=0.1, start=20, patience=50)
    kept = None
    for n in range(300):
        if rule.update(settle_and_move(n)):
            kept = n
        if rule.done:
            break
    assert kept is not None
    assert 95 <= kept <= 115
    assert n == kept + 50


def test_does_not_look_before_the_start() -> None:
    """A constant output has no variance: only after the start may that count."""
    rule = VarianceStop((3, 8, 8), start=30, patience=10)
    for n in range(60):
        rule.update(torch.zeros(1, 3, 8, 8) if n < 20 else settle_and_move(n))
        if n <= 30:
            assert not rule.done
    assert rule.least.least > 0


def test_forgets() -> None:
    rule, fresh = VarianceStop((3, 8, 8), start=5, patience=10), VarianceStop((3, 8, 8), start=5, patience=10)
    for n in range(40):
        rule.update(settle_and_move(n))
    rule.forget()
    for n in range(20):
        assert bool(rule.update(settle_and_move(n))) == bool(fresh.update(settle_and_move(n)))
    assert torch.equal(rule.variance, fresh.variance)


def test_held_out_keeps_the_least_error() -> None:
    rule = HeldOutStop((3, 40, 50), share=0.1, start=5, patience=20)
    assert rule.held is not None
    assert 150 < rule.held.sum() < 250
    errors = [1 / (n + 1) if n < 30 else 0.02 + n for n in range(60)]
    kept = [n for n, error in enumerate(errors) if not rule.done and rule.update(torch.zeros(()), torch.tensor(error))]
    assert kept[-1] == 29
    assert rule.done
    before = rule.held.clone()
    rule.forget()
    assert not rule.done
    assert not torch.equal(rule.held, before)  # the fit of another tile holds out other pixels


def test_a_further_fit_of_the_tile_sees_all_and_ends_where_the_first_was_best() -> None:
    rule = HeldOutStop((3, 40, 50), share=0.1, start=5, patience=20)
    for n in range(60):
        rule.update(torch.zeros(()), torch.tensor(abs(n - 30.0)))
        if rule.done:
            break
    for _ in range(2):
        rule.forget(same_tile=True)
        assert rule.held is None
        kept = [n for n in range(60) if not rule.done and rule.update(torch.zeros(()))]
        assert kept == list(range(31))
    rule.forget()
    assert rule.held is not None


def test_fixed_keeps_the_last() -> None:
    rule = FixedStop((3, 8, 8))
    assert all(bool(rule.update(settle_and_move(n))) for n in range(5))
    assert not rule.done


@pytest.mark.parametrize("options", [{"share": 0.0}, {"share": 1.0}, {"patience": 0}])
def test_held_out_options_beyond_reason(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"task\.stop"):
        HeldOutStop((3, 8, 8), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"weight": 0.0}, {"weight": 1.0}, {"start": -1}, {"patience": 0}])
def test_options_beyond_reason(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"task\.stop"):
        VarianceStop((3, 8, 8), **options)  # type: ignore[arg-type]

"""Same or different: error rates over thresholds, and figures from them, weighted or not.

A pair is accepted as one identity where its distance is at most the threshold. FMR is the share of impostor pairs
that are accepted, FNMR the share of genuine pairs that are rejected (ISO/IEC 19795-1); TAR = 1 - FNMR, FAR = FMR.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class ErrorRates(NamedTuple):
    """At every distinct distance as threshold, ascending, after one that accepts nothing."""

    thresholds: Tensor  # (T,), the first -inf
    fmr: Tensor  # (..., T), rising from 0 to 1
    fnmr: Tensor  # (..., T), falling from 1 to 0


class OperatingPoint(NamedTuple):
    """TAR at the largest threshold whose FAR is at most the target."""

    tar: float
    far: float  # the achieved one
    threshold: float


def error_rates(distances: Tensor, same: Tensor, weights: Tensor | None = None) -> ErrorRates:
    """Exact rates at every threshold that makes a difference.

    Shapes: distances (M,), same (M,) bool, weights (..., M) of the pairs, 1 by default.

    Raises:
        ValueError: no genuine or no impostor pair, or one of no weight.
    """
    distances, order = distances.double().sort()
    same = same[order]
    weights = torch.ones_like(distances) if weights is None else weights.double()[..., order]
    accepted = [(weights * kind).cumsum(-1) for kind in (same, ~same)]
    if any(bool((total[..., -1] <= 0).any()) for total in accepted):
        raise ValueError("error rates need at least one genuine and one impostor pair")
    last_of_ties = torch.ones_like(same)
    last_of_ties[:-1] = distances[1:] != distances[:-1]
    genuine, impostor = (total[..., last_of_ties] / total[..., -1:] for total in accepted)
    start = torch.zeros_like(genuine[..., :1])
    thresholds = torch.cat([distances.new_full((1,), -torch.inf), distances[last_of_ties]])
    return ErrorRates(thresholds, torch.cat([start, impostor], -1), 1 - torch.cat([start, genuine], -1))


def equal_error_rate(rates: ErrorRates) -> Tensor:
    """Where FMR and FNMR cross, along straight lines between neighbouring thresholds. Shapes: rates (..., T) -> (...)."""
    apart = rates.fmr - rates.fnmr  # rises from -1 to 1
    after = (apart >= 0).int().argmax(-1, keepdim=True)  # the first threshold where it is not negative
    before = (after - 1).clamp(min=0)
    low, high = apart.gather(-1, before), apart.gather(-1, after)
    step = torch.where(high > low, -low / (high - low), torch.zeros_like(low))
    first, second = rates.fmr.gather(-1, before), rates.fmr.gather(-1, after)
    return (first + step * (second - first))[..., 0]


def auroc(rates: ErrorRates) -> Tensor:
    """The area below TAR over FAR: how often a genuine pair is nearer than an impostor pair, ties counted half."""
    return torch.trapezoid(1 - rates.fnmr, rates.fmr)


def tar_at_far(rates: ErrorRates, target: float, num_impostors: int) -> OperatingPoint | None:
    """TAR at a target FAR, by the largest threshold that keeps to it; nothing is interpolated.

    None where one impostor pair is already more than the target: 1 / num_impostors > target.
    """
    if num_impostors * target < 1 - 1e-9:
        return None
    at = int((rates.fmr <= target + 1e-12).nonzero()[-1])
    return OperatingPoint(1 - rates.fnmr[at].item(), rates.fmr[at].item(), rates.thresholds[at].item())


def best_threshold(rates: ErrorRates) -> float:
    """The threshold with the smallest FMR + FNMR: the best accuracy where both kinds of pairs are equally likely.

    Half way to the next distance, so that it does not stand on a pair of the data it was chosen on. For validation data.
    """
    at = int((rates.fmr + rates.fnmr).argmin())
    finite = rates.thresholds.isfinite()
    low = rates.thresholds[at] if finite[at] else rates.thresholds[at + 1]
    high = rates.thresholds[min(at + 1, len(rates.thresholds) - 1)]
    return ((low + high) / 2).item()


def fold_accuracy(distances: Tensor, same: Tensor, folds: Tensor) -> tuple[float, float]:
    """LFW's protocol: accuracy in each fold at the threshold of the other folds; the mean and its standard error.

    Source: Huang et al., "Labeled Faces in the Wild", 2007, eqs. 1 to 3.
    """
    accuracies = []
    for fold in folds.unique():
        here = folds == fold
        threshold = best_threshold(error_rates(distances[~here], same[~here]))
        accuracies.append(((distances[here] <= threshold) == same[here]).double().mean())
    found = torch.stack(accuracies)
    return found.mean().item(), (found.std() / len(found) ** 0.5).item()


def expected_calibration_error(probability: Tensor, same: Tensor, *, bins: int = 15) -> float:
    """The mean gap between probability and truth over bins of equal width, both kinds of pairs weighed alike.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, eq. 3, for the positive class.
    """
    probability, truth = probability.double(), same.double()
    weight = torch.where(same, 0.5 / same.sum().clamp(min=1).double(), 0.5 / (~same).sum().clamp(min=1).double())
    place = (probability * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.float64, device=probability.device).index_add_(0, place, weight * (probability - truth))
    return gap.abs().sum().item()


def resample(units: Tensor, draws: int, seed: int) -> Tensor:
    """How often each unit (identity) is drawn, (draws, units), int64: a bootstrap over `units`, the distinct ones ascending."""
    size = len(units.unique())
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(size, (draws, size), generator=generator)
    return torch.zeros(draws, size, dtype=torch.long).scatter_add_(1, drawn, torch.ones_like(drawn))


def pair_weights(times: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """What a pair weighs in each draw.

    Pairs of two units count once for each pair of their copies; pairs within a unit once for each copy. A pair of
    two copies of one unit does not exist: a person is not an impostor to himself.

    Shapes: times (draws, units), first and second (M,) into units -> (draws, M).
    """
    return torch.where(first == second, times[:, first], times[:, first] * times[:, second])


def intervals(
    distances: Tensor,
    same: Tensor,
    first: Tensor,
    second: Tensor,
    figures: Callable[[ErrorRates], dict[str, Tensor]],
    *,
    draws: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """The percentile interval of every figure over draws of the units `first` and `second` (M,) that the pairs are of.

    Pairs are dependent, so an interval over pairs would be far too narrow (Bolle et al., 2004).
    """
    units, numbered = torch.cat([first, second]).unique(return_inverse=True)
    first, second = numbered.split(len(first))
    values: dict[str, list[Tensor]] = {}
    at_once = max(1, 20_000_000 // max(1, len(distances)))
    for times in resample(units, draws, seed).to(distances.device).split(at_once):
        weights = pair_weights(times, first, second)
        possible = (weights[:, same].sum(1) > 0) & (weights[:, ~same].sum(1) > 0)
        if not bool(possible.any()):
            continue
        for name, value in figures(error_rates(distances, same, weights[possible])).items():
            values.setdefault(name, []).append(value)
    edges = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    found = {name: torch.cat(parts).double().cpu().quantile(edges) for name, parts in values.items()}
    return {name: (low.item(), high.item()) for name, (low, high) in found.items()}


def mean_interval(values: Tensor, units: Tensor, *, draws: int = 200, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of the mean of `values` (M,) over draws of their units (M,): of whole identities."""
    distinct, numbered = units.unique(return_inverse=True)
    times = resample(distinct, draws, seed).double()
    total = torch.zeros(len(distinct), dtype=torch.float64).index_add_(0, numbered.cpu(), values.double().cpu())
    count = torch.bincount(numbered.cpu(), minlength=len(distinct)).double()
    means = (times @ total) / (times @ count).clamp(min=1)
    low, high = means.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64))
    return low.item(), high.item()

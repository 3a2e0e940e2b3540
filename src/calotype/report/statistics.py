"""Mean, spread and significance over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Summary(NamedTuple):
    """Of n figures: mean, standard deviation (n - 1), and the ends of the mean's 95 % interval by Student's t; NaN where n is too small."""

    mean: float
    sd: float
    low: float
    high: float
    n: int


def summary(values: Sequence[float]) -> Summary:
    """Of figures of runs that differ in the seed alone."""
    n = len(values)
    if n == 0:
        return Summary(math.nan, math.nan, math.nan, math.nan, 0)
    mean = float(np.mean(values))
    if n == 1:
        return Summary(mean, math.nan, math.nan, math.nan, 1)
    sd = float(np.std(values, ddof=1))
    half = float(stats.t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
    return Summary(mean, sd, mean - half, mean + half, n)


def paired_p(baseline: Mapping[int, float], other: Mapping[int, float]) -> float:
    """Two-sided p of the paired t-test over the seeds that both have; NaN with fewer than two of them.

    Differences that are all the same leave the test without a spread: p is 1 where they are 0, else 0.
    """
    seeds = sorted(set(baseline) & set(other))
    if len(seeds) < 2:
        return math.nan
    differences = np.array([other[seed] - baseline[seed] for seed in seeds])
    largest = np.abs(differences).max()
    if np.ptp(differences) <= 1e-9 * largest:  # but for rounding
        return 1.0 if largest == 0 else 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected for as many comparisons, so that the chance of one false find stays below the level (Holm, 1979); NaNs are not counted."""
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    corrected = [math.nan] * len(p_values)
    least = 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, p_values[i] * (len(order) - rank)))
        corrected[i] = least
    return corrected

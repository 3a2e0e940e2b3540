"""Statistics over seeds, against SciPy and statsmodels on the same numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.descriptivestats import describe
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from calotype.report.statistics import holm, paired_p, summary


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_summary_is_that_of_other_libraries(n: int) -> None:
    values = np.random.RandomState(n).normal(0.9, 0.02, n).tolist()
    mine = summary(values)
    theirs = DescrStatsW(values)
    assert mine.n == n
    assert mine.mean == pytest.approx(theirs.mean)
    assert mine.sd == pytest.approx(describe(values, stats=["std"]).iloc[0, 0])
    assert (mine.low, mine.high) == pytest.approx(theirs.tconfint_mean())
    assert (mine.low, mine.high) == pytest.approx(stats.t.interval(0.95, n - 1, np.mean(values), stats.sem(values)))


def test_summary_of_one_and_of_none() -> None:
    one = summary([0.5])
    assert one.mean == 0.5
    assert one.n == 1
    assert all(math.isnan(value) for value in (one.sd, one.low, one.high))
    none = summary([])
    assert none.n == 0
    assert math.isnan(none.mean)


def test_paired_test_is_scipys_over_the_seeds_that_both_have() -> None:
    generator = np.random.RandomState(0)
    baseline = {seed: float(generator.normal(0.8, 0.05)) for seed in range(8)}
    other = {seed: baseline[seed] + float(generator.normal(0.01, 0.01)) for seed in range(2, 12) if seed in baseline}
    other[99] = 0.1
    shared = sorted(set(baseline) & set(other))
    assert paired_p(baseline, other) == pytest.approx(stats.ttest_rel([other[s] for s in shared], [baseline[s] for s in shared]).pvalue)
    # The seed's own part drops out: the unpaired test sees nothing here.
    assert paired_p(baseline, other) < 0.5 * stats.ttest_ind([other[s] for s in shared], [baseline[s] for s in shared]).pvalue


def test_paired_test_without_a_spread() -> None:
    assert math.isnan(paired_p({0: 1.0}, {0: 2.0}))
    assert math.isnan(paired_p({0: 1.0, 1: 1.0}, {2: 2.0, 3: 1.0}))
    assert paired_p({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}) == 1.0
    assert paired_p({0: 1.0, 1: 2.0}, {0: 2.0, 1: 3.0}) == 0.0


def test_correction_is_statsmodels() -> None:
    p_values = [0.01, 0.04, 0.03, 0.005, 0.6, 0.2]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())
    assert holm([]) == []
    with_gap = holm([0.02, math.nan, 0.01])
    assert math.isnan(with_gap[1])
    assert [with_gap[0], with_gap[2]] == pytest.approx([0.02, 0.02])

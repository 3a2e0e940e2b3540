"""Error rates, EER, ROC, calibration and intervals by hand, by brute force and by other libraries."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torchmetrics.functional.classification import binary_calibration_error

from calotype.metrics import verification as v
from calotype.metrics.decision import Decision, logistic

# Genuine at 1, 2, 3, 6; impostors at 2.5, 4, 5, 7, 8.
DISTANCES = torch.tensor([1, 2, 3, 6, 2.5, 4, 5, 7, 8])
SAME = torch.tensor([True] * 4 + [False] * 5)


def random_pairs(seed: int, size: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    same = torch.rand(size, generator=generator) < 0.3
    # Rounded, so that there are ties within and between the kinds.
    return (torch.randn(size, generator=generator) - 1.2 * same).mul(5).round() / 5, same


def test_rates_by_hand() -> None:
    rates = v.error_rates(DISTANCES, SAME)
    assert rates.thresholds.tolist() == [-torch.inf, 1, 2, 2.5, 3, 4, 5, 6, 7, 8]
    assert rates.fmr.tolist() == pytest.approx([0, 0, 0, 0.2, 0.2, 0.4, 0.6, 0.6, 0.8, 1])
    assert rates.fnmr.tolist() == pytest.approx([1, 0.75, 0.5, 0.5, 0.25, 0.25, 0.25, 0, 0, 0])


@pytest.mark.parametrize("seed", range(3))
def test_rates_by_brute_force_with_ties_and_weights(seed: int) -> None:
    distances, same = random_pairs(seed)
    weights = torch.randint(0, 3, (300,), generator=torch.Generator().manual_seed(seed)).double()
    rates = v.error_rates(distances, same, weights)
    for threshold, fmr, fnmr in zip(*(part.tolist() for part in rates), strict=True):
        accepted = distances.double() <= threshold
        assert fmr == pytest.approx((weights * (accepted & ~same)).sum().item() / weights[~same].sum().item(), abs=1e-9)
        assert fnmr == pytest.approx((weights * (~accepted & same)).sum().item() / weights[same].sum().item(), abs=1e-9)
    assert rates.fmr[0] == 0
    assert rates.fnmr[-1] == pytest.approx(0, abs=1e-12)


def test_equal_error_rate_by_hand() -> None:
    # Between 3 (0.2, 0.25) and 4 (0.4, 0.25): FMR rises through 0.25 a quarter of the way.
    assert v.equal_error_rate(v.error_rates(DISTANCES, SAME)).item() == pytest.approx(0.25)
    apart = v.error_rates(torch.tensor([1.0, 2, 3, 4]), torch.tensor([True, True, False, False]))
    assert v.equal_error_rate(apart).item() == 0
    wrong = v.error_rates(torch.tensor([3.0, 4, 1, 2]), torch.tensor([True, True, False, False]))
    assert v.equal_error_rate(wrong).item() == 1
    one_point = v.error_rates(torch.zeros(4), torch.tensor([True, True, False, False]))
    assert v.equal_error_rate(one_point).item() == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(3))
def test_area_as_another_library_has_it(seed: int) -> None:
    distances, same = random_pairs(seed)
    assert v.auroc(v.error_rates(distances, same)).item() == pytest.approx(roc_auc_score(same, -distances.double()))
    weights = torch.rand(300, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    wanted = roc_auc_score(same, -distances.double(), sample_weight=weights)
    assert v.auroc(v.error_rates(distances, same, weights)).item() == pytest.approx(wanted)


def test_tar_at_far_by_hand_and_what_cannot_be_resolved() -> None:
    rates = v.error_rates(DISTANCES, SAME)
    assert v.tar_at_far(rates, 0.2, 5) == pytest.approx((0.75, 0.2, 3))
    assert v.tar_at_far(rates, 0.39, 5) == pytest.approx((0.75, 0.2, 3))
    assert v.tar_at_far(rates, 0.19, 5) is None
    ties = v.error_rates(torch.tensor([1.0, 1, 2]), torch.tensor([True, False, False]))
    assert v.tar_at_far(ties, 0.49, 100) == pytest.approx((0.0, 0.0, -torch.inf))  # the tie is accepted or rejected as a whole


def test_threshold_stands_between_pairs_where_most_is_right() -> None:
    assert v.best_threshold(v.error_rates(DISTANCES, SAME)) == pytest.approx(3.5)
    assert v.best_threshold(v.error_rates(torch.tensor([3.0, 1]), torch.tensor([True, False]))) <= 1  # nothing better than to reject all


def test_no_pairs_of_a_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="one genuine and one impostor"):
        v.error_rates(torch.ones(3), torch.ones(3, dtype=torch.bool))


def test_fold_accuracy_takes_the_threshold_from_the_other_folds() -> None:
    """Fold 2 alone would put its threshold elsewhere: at the others' it gets one of four wrong."""
    distances = torch.tensor([1.0, 2, 5, 6, 1, 2, 5, 6, 1, 4, 5, 6])
    same = torch.tensor([True, True, False, False] * 3)
    folds = torch.arange(3).repeat_interleave(4)
    mean, error = v.fold_accuracy(distances, same, folds)
    assert mean == pytest.approx((1 + 1 + 0.75) / 3)
    assert error == pytest.approx(torch.tensor([1.0, 1, 0.75]).std().item() / 3**0.5)


def test_calibration_error_as_another_library_has_it() -> None:
    generator = torch.Generator().manual_seed(0)
    probability, same = torch.rand(400, generator=generator, dtype=torch.float64), torch.arange(400) % 2 == 0  # as many of each kind
    # torchmetrics takes the likelier class's probability; with all above 1/2 that is the positive one's.
    high = 0.5 + probability / 2
    wanted = binary_calibration_error(high, same.long(), n_bins=10).item()
    assert v.expected_calibration_error(high, same, bins=10) == pytest.approx(wanted, abs=1e-6)
    assert v.expected_calibration_error(same.double(), same) == 0
    assert v.expected_calibration_error(1 - same.double(), same) == pytest.approx(1)
    many = torch.cat([same, torch.zeros(10_000, dtype=torch.bool)])
    half = torch.full((len(many),), 0.5)
    assert v.expected_calibration_error(half, many) == pytest.approx(0)  # kinds weigh alike, however many there are


def test_resampling_weighs_pairs_by_copies_and_never_pairs_a_person_with_himself() -> None:
    times = torch.tensor([[2, 0, 1], [1, 1, 1]])
    first, second = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 2, 1])
    assert v.pair_weights(times, first, second).tolist() == [[2, 0, 2, 0], [1, 1, 1, 1]]
    drawn = v.resample(torch.tensor([4, 4, 9, 5]), 50, 0)
    assert drawn.shape == (50, 3)
    assert (drawn.sum(1) == 3).all()
    assert torch.equal(drawn, v.resample(torch.tensor([4, 9, 5]), 50, 0))


def test_interval_over_identities_is_wider_than_over_pairs() -> None:
    """20 people, each hard or easy as a whole: what pairs alone would say is too sure."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(20).repeat_interleave(6)
    first, second = torch.triu_indices(120, 120, 1)
    same = labels[first] == labels[second]
    hard = torch.randn(20, generator=generator)
    distances = torch.randn(len(first), generator=generator) + torch.where(same, hard[labels[first]], 2.0)

    def figures(rates: v.ErrorRates) -> dict[str, torch.Tensor]:
        return {"eer": v.equal_error_rate(rates)}

    low, high = v.intervals(distances, same, labels[first], labels[second], figures)["eer"]
    whole = v.equal_error_rate(v.error_rates(distances, same)).item()
    assert low < whole < high
    images = v.intervals(distances, same, torch.arange(len(first)), torch.arange(len(first)), figures)["eer"]
    assert high - low > 1.5 * (images[1] - images[0])
    again = v.intervals(distances, same, labels[first], labels[second], figures)["eer"]
    assert again == (low, high)


def test_mean_interval_of_equal_people_is_a_point_and_of_unlike_people_is_not() -> None:
    units = torch.arange(10).repeat_interleave(3)
    assert v.mean_interval(torch.ones(30), units) == (1, 1)
    low, high = v.mean_interval((units < 5).float(), units)
    assert 0 < low < 0.4
    assert 0.6 < high < 1


def test_logistic_regression_as_another_library_has_it() -> None:
    from sklearn.linear_model import LogisticRegression

    distances, same = random_pairs(1)
    slope, intercept = logistic(distances, same).tolist()
    oracle = LogisticRegression(C=1e4, class_weight="balanced", tol=1e-9).fit(distances[:, None].numpy(), same.numpy())
    assert slope == pytest.approx(oracle.coef_[0, 0], rel=0.01)
    assert intercept == pytest.approx(oracle.intercept_[0], rel=0.02, abs=0.01)
    assert torch.isfinite(logistic(torch.tensor([0.0, 1, 9, 10]), torch.tensor([True, True, False, False]))).all()  # separable
    assert torch.isfinite(logistic(torch.ones(4), torch.tensor([True, True, False, False]))).all()  # one point


def test_decision_on_validation_is_used_on_test_and_travels_in_a_checkpoint() -> None:
    decision = Decision()
    assert not decision.known
    decision.fit(DISTANCES, SAME)
    assert float(decision.threshold) == pytest.approx(3.5)
    assert decision.probability(torch.tensor([0.0, 10.0])).tolist() == pytest.approx([1, 0], abs=0.1)
    again = Decision()
    again.load_state_dict(decision.state_dict())
    assert float(again.threshold) == float(decision.threshold)
    assert torch.equal(again.probability(DISTANCES), decision.probability(DISTANCES))
    decision.forget()
    assert not decision.known


def test_threshold_of_a_search_is_stricter_the_more_are_enrolled() -> None:
    generator = torch.Generator().manual_seed(0)
    strangers = torch.rand(20_000, generator=generator)
    decision = Decision()
    decision.fit(torch.cat([strangers, -torch.rand(10, generator=generator)]), torch.arange(20_010) >= 20_000)
    thresholds = [decision.threshold_for(0.01, size)[0] for size in (1, 10, 100)]
    assert thresholds == pytest.approx([0.01, 0.001, 0.0001], rel=0.6)
    # The share of 20,000 searches, of 10 comparisons each, that return anybody is what was asked for.
    searches = torch.rand(20_000, 10, generator=generator)
    assert (searches.min(1).values < thresholds[1]).float().mean().item() == pytest.approx(0.01, rel=0.4)
    assert decision.threshold_for(0.01, 10)[1]
    limit, resolved = decision.threshold_for(0.01, 1_000_000)
    assert not resolved
    assert limit == strangers.min().double().item()

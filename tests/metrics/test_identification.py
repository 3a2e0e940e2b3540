"""One-shot trials, ranks, open-set searches: invariants, hand calculations, brute force, and no reward for one point."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from calotype.metrics import evaluation
from calotype.metrics import identification as ident
from calotype.metrics.decision import Decision
from calotype.metrics.evaluation import all_pairs, class_groups, evaluate_test, evaluate_validation
from helpers import LargestTensor


def test_trials_hold_what_they_should() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 4, 4])
    trials = ident.one_shot_trials(labels, ways=4, num_trials=400, seed=0)
    assert trials.shape == (400, 5)
    assert (trials[:, 0] != trials[:, 1]).all()
    assert (labels[trials[:, 0]] == labels[trials[:, 1]]).all()
    for row in labels[trials[:, 1:]]:
        assert len(set(row.tolist())) == 4
    assert set(trials[:, 0].tolist()) == {0, 1, 2, 3, 4, 6, 7, 8, 9}  # 5 has no second image to be found by
    assert set(trials[:, 2:].flatten().tolist()) == set(range(10))
    assert torch.equal(trials, ident.one_shot_trials(labels, ways=4, num_trials=400, seed=0))
    assert not torch.equal(trials, ident.one_shot_trials(labels, ways=4, num_trials=400, seed=1))


def test_trials_within_a_group() -> None:
    labels = torch.arange(8).repeat_interleave(2)
    groups = class_groups(["a/1", "a/2", "a/3", "a/4", "a/5", "b/1", "b/2", "b/3"])
    assert groups is not None
    trials = ident.one_shot_trials(labels, ways=4, num_trials=64, seed=0, groups=groups)
    for row in trials:
        real = row[1:][row[1:] != row[0]]
        assert len(groups[labels[real]].unique()) == 1
        assert len(real) == (4 if groups[labels[row[0]]] == 0 else 3)
    assert class_groups(["x", "y"]) is None


def test_one_shot_right_wrong_and_tied() -> None:
    trials = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 0]])
    distances = torch.tensor([[1.0, 2, 3], [2, 1, 3], [1, 1, 1], [1, 2, 0]])
    assert ident.one_shot_correct(trials, distances).tolist() == pytest.approx([1, 0, 1 / 3, 1])


def test_searches_enrol_one_image_each() -> None:
    labels = torch.arange(10).repeat_interleave(3)
    closed = ident.searches(labels, share_enrolled=1.0, seed=0)
    assert len(closed.gallery) == 10
    assert len(closed.probes) == 20
    assert not set(closed.probes.tolist()) & set(closed.gallery.tolist())
    assert torch.equal(labels[closed.gallery[closed.mated]], labels[closed.probes])
    opened = ident.searches(labels, share_enrolled=0.5, seed=0)
    assert len(opened.gallery) == 5
    assert len(opened.probes) == 25
    mated = opened.mated >= 0
    assert torch.equal(labels[opened.gallery[opened.mated[mated]]], labels[opened.probes[mated]])
    assert not set(labels[opened.probes[~mated]].tolist()) & set(labels[opened.gallery].tolist())


def test_ranks_and_cmc_by_hand() -> None:
    distances = torch.tensor([[1.0, 2, 3], [3, 2, 1], [1, 1, 5], [9, 9, 9]])
    mated = torch.tensor([0, 0, 1, -1])
    ranks = ident.ranks(distances, mated)
    assert ranks.tolist() == [1, 3, 1.5]
    assert ident.cumulative_match(ranks, 3).tolist() == pytest.approx([1 / 3, 2 / 3, 1])


def test_open_set_by_hand_and_by_brute_force() -> None:
    # Strangers come as near as 1..100; known probes: right at 0.5, right but far, near the wrong person.
    strangers = torch.arange(1, 101).float()[:, None].repeat(1, 2) + torch.tensor([0.0, 0.5])
    known = torch.tensor([[0.5, 9], [1.5, 9], [2.5, 0.5]])
    distances, mated = torch.cat([strangers, known]), torch.tensor([-1] * 100 + [0, 0, 0])
    assert ident.detection_and_identification(distances, mated, 0.01) == pytest.approx((2 / 3, 2.0))  # one stranger, at 1, is let in
    assert ident.detection_and_identification(distances[1:], mated[1:], 0.01) is None
    generator = torch.Generator().manual_seed(0)
    distances, mated = torch.rand(400, 5, generator=generator), torch.randint(-1, 5, (400,), generator=generator)
    best = 0.0
    for threshold in distances.flatten().tolist():
        near, who = distances.min(1)
        if ((near < threshold) & (mated < 0)).sum() <= 0.05 * (mated < 0).sum():
            best = max(best, ((near < threshold) & (who == mated))[mated >= 0].float().mean().item())
    found = ident.detection_and_identification(distances, mated, 0.05)
    assert found is not None
    assert found[0] == pytest.approx(best, abs=0.006)


def test_all_pairs_and_a_draw_of_them() -> None:
    labels = torch.arange(60) // 3
    pairs = all_pairs(labels, most=10**6, seed=0)
    assert len(pairs.same) == 60 * 59 // 2
    assert int(pairs.same.sum()) == 20 * 3
    drawn = all_pairs(labels, most=500, seed=0)
    assert len(drawn.same) == 500
    assert (drawn.first < drawn.second).all()
    assert len(set(zip(drawn.first.tolist(), drawn.second.tolist(), strict=True))) == 500
    assert torch.equal(drawn.same, labels[drawn.first] == labels[drawn.second])


def evaluate(embeddings: torch.Tensor, labels: torch.Tensor, **options):  # type: ignore[no-untyped-def]
    def measure(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (embeddings[first] - embeddings[second]).square().sum(-1)

    decision, pairs = Decision(), all_pairs(labels, most=10**6, seed=0)
    evaluate_validation(measure, labels, pairs, decision)
    return evaluate_test(measure, labels, pairs, decision, seed=0, units=labels, **options)


def test_perfect_embeddings_and_one_point() -> None:
    labels = torch.arange(30).repeat_interleave(8)
    found = evaluate(torch.eye(30)[labels], labels).figures
    perfect = ("auroc", "accuracy", "tar_at_far_1e-2", "tar_at_far_1e-3", "rank1", "one_shot_accuracy", "dir_at_fpir_1e-2")
    assert [found[name] for name in perfect] == [1.0] * 7
    assert found["eer"] == found["eer_high"] == 0
    point = evaluate(torch.ones(240, 3), labels).figures
    assert point["eer"] == pytest.approx(0.5)
    assert point["auroc"] == pytest.approx(0.5)
    assert point["one_shot_accuracy"] == pytest.approx(1 / 20)
    assert [point[name] for name in ("rank1", "dir_at_fpir_1e-2", "tar_at_far_1e-2")] == [0, 0, 0]


def test_what_the_data_cannot_give_is_left_out_and_said() -> None:
    found = evaluate(torch.randn(12, 3), torch.arange(12) // 3)
    assert "tar_at_far_1e-1" in found.figures
    assert "tar_at_far_1e-2" not in found.figures
    assert any("tar_at_far_1e-2: 54 impostor pairs do not resolve it, 100 would" in line for line in found.missing)
    assert any("dir_at_fpir_1e-2" in line for line in found.missing)
    alone = evaluate_test(lambda a, b: a * 0.0, torch.zeros(4).long(), all_pairs(torch.zeros(4), most=9, seed=0), Decision(), seed=0,
                          units=torch.arange(4))  # fmt: skip
    assert alone.figures == {}
    assert len(alone.missing) == 2


def test_figures_lie_in_their_intervals() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(25).repeat_interleave(10)
    embeddings = torch.randn(25, 8, generator=generator)[labels] + 0.8 * torch.randn(250, 8, generator=generator)
    found = evaluate(embeddings, labels).figures
    for name in ("eer", "auroc", "tar_at_far_1e-2", "accuracy", "rank1", "one_shot_accuracy"):
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"], name
    assert found["fnir_at_fpir_1e-2"] == pytest.approx(1 - found["dir_at_fpir_1e-2"])


@pytest.mark.parametrize("grouped", [False, True])
def test_trials_in_parts_are_the_same_trials(grouped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.arange(30).repeat_interleave(3)
    groups = torch.arange(30) % 3 if grouped else None
    whole = ident.one_shot_trials(labels, ways=5, num_trials=70, seed=2, groups=groups)
    monkeypatch.setattr(ident, "SCORES", 100)
    assert torch.equal(ident.one_shot_trials(labels, ways=5, num_trials=70, seed=2, groups=groups), whole)
    with LargestTensor() as largest:
        ident.one_shot_trials(labels, ways=5, num_trials=700, seed=2, groups=groups)
    assert largest.numel < 700 * 30


def test_searches_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    labels = torch.arange(40).repeat_interleave(5)
    points = torch.randn(40, 3)[labels] + 0.5 * torch.randn(200, 3)
    sizes: list[int] = []

    def measure(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        sizes.append(len(first))
        return (points[first] - points[second]).square().sum(1)

    def figures() -> dict[str, float]:
        no_pairs = evaluation.Pairs(*torch.zeros(2, 0, dtype=torch.long), torch.zeros(0, dtype=torch.bool))
        return evaluate_test(measure, labels, no_pairs, Decision(), seed=0, units=labels, num_trials=1, ways=2).figures

    whole = figures()
    assert "dir_at_fpir_1e-2" in whole
    assert "rank1" in whole
    sizes.clear()
    monkeypatch.setattr(evaluation, "COMPARED_AT_ONCE", 100)
    assert figures() == whole
    assert max(sizes) <= 100


class Elsewhere(torch.Tensor):
    """A tensor of another device: it gives numbers, and computes with no tensor of this one."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(type(part) is torch.Tensor and part.ndim for part in args):
            raise RuntimeError("Expected all tensors to be on the same device")
        return super().__torch_function__(func, types, args, kwargs or {})


def test_what_is_decided_may_lie_on_a_gpu() -> None:
    """The network is on a GPU in the test, its thresholds with it, and the distances have come back: no face network ran there."""
    distances = torch.cat([torch.rand(20), 0.5 + torch.rand(20)])
    decision = Decision()
    decision.fit(distances, torch.arange(40) < 20)
    labels = torch.arange(12) // 2
    places = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))

    def figures() -> dict[str, float]:
        pairs = all_pairs(labels, most=99, seed=0)
        measure = lambda a, b: (places[a] - places[b]).square().sum(-1)  # noqa: E731
        return evaluate_test(measure, labels, pairs, decision, seed=0, units=labels, ways=2, num_trials=9).figures

    here = figures()
    for name in ("threshold", "calibration"):
        setattr(decision, name, getattr(decision, name).as_subclass(Elsewhere))
    assert figures() == here
    assert torch.isfinite(decision.probability(distances)).all()

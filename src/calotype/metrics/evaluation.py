"""The figures of a network that tells distances: verification of pairs, identification, one-shot; on validation and on test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from calotype.metrics import identification as ident
from calotype.metrics import verification as veri
from calotype.metrics.decision import Decision

Measure = Callable[[Tensor, Tensor], Tensor]  # image numbers (M,), (M,) -> distances (M,)
FARS = (1e-1, 1e-2, 1e-3)
FPIR = 1e-2
MOST_COMPARISONS = 10_000_000  # of a kind of trial; above it fewer draws are made
COMPARED_AT_ONCE = 2**22  # probes times templates of a search


class Pairs(NamedTuple):
    first: Tensor  # (M,) image numbers
    second: Tensor  # (M,)
    same: Tensor  # (M,) bool


class Evaluation(NamedTuple):
    figures: dict[str, float]
    missing: list[str]  # figures that the data cannot give, and why
    pairs: Pairs
    distances: Tensor  # (M,)


def all_pairs(labels: Tensor, *, most: int, seed: int) -> Pairs:
    """Every pair of different images; above `most` a draw of so many, without repeats."""
    n = len(labels)
    total = n * (n - 1) // 2
    if total <= most:
        first, second = torch.triu_indices(n, n, 1)
    else:
        generator = torch.Generator().manual_seed(seed)
        # More than are kept, since repeats and images met with themselves fall out.
        drawn = torch.randint(n, (2, most + most // 2), generator=generator).sort(0).values
        code = (drawn[0] * n + drawn[1])[drawn[0] != drawn[1]].unique()
        code = code[torch.randperm(len(code), generator=generator)[:most]]
        first, second = code // n, code % n
    return Pairs(first, second, labels[first] == labels[second])


def evaluate_validation(measure: Measure, labels: Tensor, pairs: Pairs, decision: Decision) -> Evaluation:
    """eer, auroc and accuracy at the threshold, which is fitted here: `decision` is changed."""
    if not _both_kinds(pairs.same):
        return Evaluation({}, ["val: it needs pairs of one identity and of two; enlarge data.val_fraction"], pairs, torch.zeros(0))
    distances = measure(pairs.first, pairs.second)
    if not bool(distances.isfinite().all()):
        return Evaluation({}, ["val: the distances are not finite"], pairs, distances)
    rates = veri.error_rates(distances, pairs.same)
    decision.fit(distances, pairs.same)
    figures = {
        "eer": veri.equal_error_rate(rates).item(),
        "auroc": veri.auroc(rates).item(),
        "accuracy": _accuracy(distances, pairs.same, float(decision.threshold)),
    }
    return Evaluation(figures, [], pairs, distances)


def evaluate_test(
    measure: Measure,
    labels: Tensor,
    pairs: Pairs,
    decision: Decision,
    *,
    seed: int,
    units: Tensor,
    groups: Tensor | None = None,
    ways: int = 20,
    num_trials: int = 10_000,
    draws: int = 20,
    folds: Tensor | None = None,
) -> Evaluation:
    """All figures.

    eer, auroc, tar_at_far_* with far_achieved_at_*, accuracy (the mean of TAR and 1 - FAR at validation's threshold),
    calibration_error, rank1, cmc_5, one_shot_accuracy, dir_at_fpir_1e-2, fnir_at_fpir_1e-2; `_low` and `_high` bound
    95 % over draws of the `units` (identities); genuine_pairs, impostor_pairs, gallery_size, open_gallery_size,
    one_shot_ways; with `folds` fold_accuracy and fold_accuracy_standard_error.

    Args:
        measure: distances of pairs of image numbers.
        labels: (N,) identity of each image.
        pairs: for verification.
        decision: fitted on validation data, or not known.
        seed: of trials, galleries and intervals.
        units: (N,) what is independent of one another: identities, or images where identities are shared by all sides.
        groups: of each identity, by label: candidates of a one-shot trial come from the probe's group.
        ways: candidates of a one-shot trial.
        num_trials: one-shot trials.
        draws: galleries drawn for rank1 and for the open set.
        folds: (M,) of the pairs.
    """
    figures: dict[str, float] = {}
    missing: list[str] = []
    distances = measure(pairs.first, pairs.second) if len(pairs.same) else torch.zeros(0)
    if not bool(distances.isfinite().all()):
        return Evaluation({}, ["test: the distances are not finite"], pairs, distances)
    if _both_kinds(pairs.same):
        _verification(figures, missing, distances, pairs, decision, units, seed)
        if folds is not None:
            figures["fold_accuracy"], figures["fold_accuracy_standard_error"] = veri.fold_accuracy(distances, pairs.same, folds)
    else:
        missing.append("test: verification needs pairs of one identity and of two")
    _identification(figures, missing, measure, labels, units, seed, draws)
    trials = ident.one_shot_trials(labels, ways=ways, num_trials=num_trials, seed=seed, groups=groups)
    if len(trials):
        probes = trials[:, :1].expand_as(trials[:, 1:])
        apart = measure(probes.flatten(), trials[:, 1:].flatten()).view(probes.shape)
        correct = ident.one_shot_correct(trials.to(apart.device), apart)
        figures["one_shot_accuracy"] = correct.double().mean().item()
        figures["one_shot_ways"] = (trials[:, 1:] != trials[:, :1]).sum(1).double().mean().item()
        _bounds(figures, "one_shot_accuracy", veri.mean_interval(correct, units[trials[:, 0]], seed=seed))
    return Evaluation(figures, missing, pairs, distances)


def _verification(
    figures: dict[str, float],
    missing: list[str],
    distances: Tensor,
    pairs: Pairs,
    decision: Decision,
    units: Tensor,
    seed: int,
) -> None:
    same = pairs.same
    rates = veri.error_rates(distances, same)
    genuine, impostor = int(same.sum()), int((~same).sum())
    figures |= {"genuine_pairs": genuine, "impostor_pairs": impostor}
    figures |= {"eer": veri.equal_error_rate(rates).item(), "auroc": veri.auroc(rates).item()}
    for far in FARS:
        point = veri.tar_at_far(rates, far, impostor)
        if point is None:
            missing.append(f"test/tar_at_far_{_name(far)}: {impostor} impostor pairs do not resolve it, {round(1 / far)} would")
        else:
            figures[f"tar_at_far_{_name(far)}"] = point.tar
            figures[f"far_achieved_at_{_name(far)}"] = point.far
    threshold = float(decision.threshold)  # a number: the distances may lie on another device
    if decision.known:
        figures["accuracy"] = _accuracy(distances, same, threshold)
        figures["far_at_threshold"] = (distances[~same] <= threshold).double().mean().item()
        figures["frr_at_threshold"] = (distances[same] > threshold).double().mean().item()
        figures["calibration_error"] = veri.expected_calibration_error(decision.probability(distances), same)
    else:
        missing.append("test/accuracy: no threshold, since there is no validation side with both kinds of pairs")

    def resampled(drawn: veri.ErrorRates) -> dict[str, Tensor]:
        found = {"eer": veri.equal_error_rate(drawn), "auroc": veri.auroc(drawn)}
        if "tar_at_far_1e-2" in figures:
            at = (drawn.fmr <= 1e-2 + 1e-12).sum(-1, keepdim=True) - 1
            found["tar_at_far_1e-2"] = 1 - drawn.fnmr.gather(-1, at)[..., 0]
        if decision.known:
            at = (drawn.thresholds <= threshold).sum() - 1
            found["accuracy"] = 1 - (drawn.fmr[..., at] + drawn.fnmr[..., at]) / 2
        return found

    bounds = veri.intervals(distances, same, units[pairs.first], units[pairs.second], resampled, seed=seed)
    for name, bound in bounds.items():
        _bounds(figures, name, bound)


def _identification(
    figures: dict[str, float], missing: list[str], measure: Measure, labels: Tensor, units: Tensor, seed: int, draws: int
) -> None:
    identities = len(labels.unique())
    if identities < 2 or identities == len(labels):
        missing.append("test/rank1: it needs two identities, and one of two images")
        return
    draws = max(1, min(draws, MOST_COMPARISONS // (len(labels) * identities)))

    closed = [_search(measure, ident.searches(labels, share_enrolled=1.0, seed=seed * 1009 + draw)) for draw in range(draws)]
    rank = torch.cat([result.rank for result in closed])
    probes = torch.cat([result.probes for result in closed])
    figures["gallery_size"] = identities
    figures["rank1"] = (rank <= 1).double().mean().item()
    _bounds(figures, "rank1", veri.mean_interval(rank <= 1, units.cpu()[probes], seed=seed))
    if identities > 5:
        figures["cmc_5"] = ident.cumulative_match(rank, 5)[-1].item()
    opened = [_search(measure, ident.searches(labels, share_enrolled=0.5, seed=seed * 1009 + draw)) for draw in range(draws)]
    results = [ident.open_set(found.nearest, found.who, found.mated, FPIR) for found in opened]
    told = [result[0] for result in results if result is not None]
    if len(told) < len(results):
        missing.append(f"test/dir_at_fpir_{_name(FPIR)}: too few searches by people who are not enrolled, {round(1 / FPIR)} would do")
        return
    figures["open_gallery_size"] = opened[0].gallery_size
    figures[f"dir_at_fpir_{_name(FPIR)}"] = sum(told) / len(told)
    figures[f"fnir_at_fpir_{_name(FPIR)}"] = 1 - sum(told) / len(told)


class _Found(NamedTuple):
    """What searches gave, without the distances of all probes to all templates: of many identities these would be gigabytes."""

    probes: Tensor  # (P,) image numbers
    mated: Tensor  # (P,)
    rank: Tensor  # of the mated ones
    nearest: Tensor  # (P,) distance
    who: Tensor  # (P,) number in the gallery
    gallery_size: int


def _search(measure: Measure, found: ident.Searches) -> _Found:
    """Compare some probes at once with the whole gallery."""
    size = len(found.gallery)
    ranks, nearest, who = [], [], []
    rows = max(1, COMPARED_AT_ONCE // size)
    for probes, mated in zip(found.probes.split(rows), found.mated.split(rows), strict=True):
        distances = measure(probes.repeat_interleave(size), found.gallery.repeat(len(probes))).view(len(probes), size).cpu()
        ranks.append(ident.ranks(distances, mated))
        least = distances.min(1)
        nearest.append(least.values)
        who.append(least.indices)
    return _Found(found.probes, found.mated, torch.cat(ranks), torch.cat(nearest), torch.cat(who), size)


def _accuracy(distances: Tensor, same: Tensor, threshold: float) -> float:
    accepted = distances <= threshold
    return ((accepted[same]).double().mean() + (~accepted[~same]).double().mean()).item() / 2


def _both_kinds(same: Tensor) -> bool:
    return bool(same.any()) and not bool(same.all())


def _bounds(figures: dict[str, float], name: str, bound: tuple[float, float]) -> None:
    figures[f"{name}_low"], figures[f"{name}_high"] = bound


def _name(rate: float) -> str:
    return f"{rate:.0e}".replace("e-0", "e-")


def class_groups(class_names: Sequence[str]) -> Tensor | None:
    """A number for the folder of each class (`alphabet/character`), None where all lie in one."""
    folders = [name.rpartition("/")[0] for name in class_names]
    numbers = {folder: number for number, folder in enumerate(sorted(set(folders)))}
    return torch.tensor([numbers[folder] for folder in folders]) if len(numbers) > 1 else None

"""Who trains, who validates, who tests: by class or by identity, from (data set, seed) alone, written as a manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from calotype.types import Source, UserError

SIDES = ("train", "val", "test")
LONG = 32  # letters of a class's name that a message has room for


@dataclass(frozen=True)
class Split:
    """Item numbers of the source on each side, in ascending order."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]


def stratified_split(
    labels: Sequence[int],
    *,
    val: float,
    test: float,
    seed: int,
    class_names: Sequence[str],
    official_test: Sequence[bool] | None = None,
    official_val: Sequence[bool] | None = None,
) -> Split:
    """Split each class in the same proportions.

    The test side is drawn first, so it stays the same whatever `val` is; where there is an official test set, it is
    the test side, and `test` is not used. An official validation set takes the place of `val`.

    Args:
        labels: class of each item, into `class_names`.
        val, test: shares of all items (with an official test set `val` is a share of the rest), 0 to 1.
        seed: of the draw, the same on every machine.

    Raises:
        UserError: the shares are impossible, or a class has too few items to stand on every side that is asked for.
    """
    check_shares(val, test)
    items = np.asarray(labels)
    none = np.zeros(len(items), dtype=bool)
    in_test, in_val = (none if mask is None else np.asarray(mask, dtype=bool) for mask in (official_test, official_val))
    sides: dict[str, list[int]] = {side: [] for side in SIDES}
    random = np.random.RandomState()
    for label, (name, members) in enumerate(zip(class_names, items_by_class(items, len(class_names)), strict=True)):
        order = permuted(members, random, seed, label)
        fixed = order[in_test[order]], order[in_val[order]]
        rest = order[~(in_test | in_val)[order]]
        num_test = 0 if official_test is not None else _share(test, len(rest))
        num_val = 0 if official_val is not None else _share(val, len(rest))
        if len(rest) - num_test - num_val < 1:
            raise UserError(_too_small(name, len(order), len(rest), {"val": num_val, "test": num_test}))
        sides["test"] += [*fixed[0].tolist(), *rest[:num_test].tolist()]
        sides["val"] += [*fixed[1].tolist(), *rest[num_test : num_test + num_val].tolist()]
        sides["train"] += rest[num_test + num_val :].tolist()
    return Split(**{side: tuple(sorted(chosen)) for side, chosen in sides.items()})


def _too_small(name: str, num: int, num_free: int, taken: Mapping[str, int]) -> str:
    """Say what to do about a class that cannot stand on every side.

    Args:
        num: its images, `num_free`: those in no official set.
        taken: side -> images that its share would take.
    """
    who = f"class {name if len(name) <= LONG else name[:LONG] + '...'!r}"
    if not num_free:
        return f"{who} has no training images (all {num} are in the test or val set): add images, or leave it out (data.classes)"
    kind = " training" if num_free < num else ""
    told = f"{who} has {num_free}{kind} image(s), the split needs {1 + sum(taken.values())}: add images, leave it out "
    told += "(data.classes, dataset.min_images)"
    if "/" in name:
        return f"{told}; a nested folder is a class of its own"
    shares = " or ".join(f"data.{side}_fraction" for side, n in taken.items() if n)
    return f"{told}, or set {shares} to 0"


def official_sets(source: Source) -> dict[str, Any]:
    """Return the official sets of a source as arguments of `stratified_split`."""
    test, val = source.test, source.val
    return {"official_test": None if test is None else test.tolist(), "official_val": None if val is None else val.tolist()}


def folder_sets(source: Source) -> dict[str, Any]:
    """Return the sets that folders hold as arguments of `identity_split`; an official set of classes is none of identities."""
    return official_sets(source) if source.split_folders else {}


def items_by_class(labels: Sequence[int] | np.ndarray | Tensor, num_classes: int) -> list[np.ndarray]:
    """Return the item numbers of each class 0 to num_classes - 1 in ascending order, none for a class without items.

    One sort: a mask for each class would take time in proportion to items times classes.
    """
    classes = np.asarray(labels)
    order = classes.argsort(kind="stable")
    edges = np.searchsorted(classes[order], np.arange(num_classes + 1))
    return [order[start:end] for start, end in pairwise(edges.tolist())]


def permuted(values: np.ndarray, random: np.random.RandomState, *seed: int) -> np.ndarray:
    """Return the values in the order that `RandomState(seed)` gives; `random` is seeded anew, 10 times as fast as a new one.

    RandomState's stream is frozen by NumPy's policy: the same order on every machine and version.
    """
    random.seed(list(seed))
    return random.permutation(values)


def thinned(split: Split, labels: Tensor, per_class: int, seed: int) -> Split:
    """The split with at most `per_class` training items of each class; the other sides as they were."""
    if per_class < 1:
        raise UserError(f"data.per_class={per_class}: at least 1")
    train = np.asarray(split.train)
    members = items_by_class(labels.numpy()[train], int(labels.max()) + 1)
    # A stream of its own for each class: how many are kept of one changes nothing for another.
    random = np.random.RandomState()
    kept = [permuted(train[positions], random, seed, label, 2)[:per_class] for label, positions in enumerate(members) if len(positions)]
    return Split(tuple(sorted(np.concatenate(kept).tolist())), split.val, split.test)


def identity_split(
    labels: Sequence[int],
    *,
    val: float,
    test: float,
    seed: int,
    names: Sequence[str] = (),
    by_folder: bool = False,
    official_test: Sequence[bool] | None = None,
    official_val: Sequence[bool] | None = None,
) -> Split:
    """Split so that no identity stands on two sides; `val` and `test` are shares of the identities.

    Args:
        labels: identity of each item.
        val, test: shares, 0 to 1.
        seed: of the draw.
        names: of the identities, for messages and `by_folder`.
        by_folder: identities are named `folder/identity`, and no folder stands on two sides; the shares are of the folders.
        official_test, official_val: which items are of these sets; they take the place of the shares.

    Raises:
        UserError: the shares are impossible, there are too few identities or folders, or one is in two official sets.
    """
    check_shares(val, test)
    items = np.asarray(labels)
    what = "identities"
    if by_folder:
        what = "folders of identities (alphabet/character)"
        items = np.unique([name.rpartition("/")[0] for name in names], return_inverse=True)[1][items]
    fixed = {side: np.unique(items[np.asarray(mask, dtype=bool)]) if mask is not None else None
             for side, mask in (("test", official_test), ("val", official_val))}  # fmt: skip
    taken = np.concatenate([np.empty(0, items.dtype), *(chosen for chosen in fixed.values() if chosen is not None)])
    people = np.random.RandomState(seed).permutation(np.setdiff1d(items, taken))
    num_test = 0 if fixed["test"] is not None else _share(test, len(people))
    num_val = 0 if fixed["val"] is not None else _share(val, len(people))
    if len(people) - num_test - num_val < 1:
        raise UserError(f"data.split: {len(people)} {what} are too few for a train, val and test side without a shared one")
    cut = {"test": people[:num_test], "val": people[num_test : num_test + num_val], "train": people[num_test + num_val :]}
    cut |= {side: chosen for side, chosen in fixed.items() if chosen is not None}
    if official_test is not None or official_val is not None:
        _check_folders(items, labels, names, official_test, official_val)
    split = Split(**{side: tuple(np.flatnonzero(np.isin(items, chosen)).tolist()) for side, chosen in cut.items()})
    check_disjoint(split, labels)
    return split


def _check_folders(items: np.ndarray, labels: Sequence[int], names: Sequence[str], *masks: Sequence[bool] | None) -> None:
    """Raise UserError for an identity (or folder of them) that has images in two of the sets test, val and train."""
    side = np.zeros(len(items), dtype=int)
    for number, mask in enumerate(masks, 1):
        if mask is not None:
            side[np.asarray(mask, dtype=bool)] = number
    for group in np.unique(items):
        sides = np.unique(side[items == group])
        if len(sides) > 1:
            first = int(np.flatnonzero(items == group)[0])
            who = names[labels[first]] if names else f"identity {group}"
            folders = " and ".join(("train", "test", "val")[i] for i in sides)
            raise UserError(f"{who}: images in {folders}, and no identity may stand on two sides; leave it in one of these folders")


def check_disjoint(split: Split, labels: Sequence[int] | np.ndarray | Tensor) -> None:
    """Raise UserError where an identity stands on two sides of the split."""
    items = np.asarray(labels)
    seen: dict[int, str] = {}
    for side in SIDES:
        for identity in np.unique(items[list(getattr(split, side))]).tolist():
            if identity in seen:
                raise UserError(f"identity {identity} stands on two sides of the split: {seen[identity]} and {side}")
            seen[identity] = side


def manifest(split: Split, source: Source, *, kind: str, seed: int) -> dict[str, Any]:
    """The split in names that mean the same on every machine, with a SHA-256 over them."""
    sides = {side: [source.item_name(i) for i in getattr(split, side)] for side in SIDES}
    if source.split_folders:
        kind = f"folders {'/'.join(source.split_folders)}"  # of the data set itself
    told = {"dataset": source.name, "kind": kind, "seed": seed, **sides}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return {"hash": digest, "sizes": {side: len(names) for side, names in sides.items()}, **told}


def _share(share: float, n: int) -> int:
    """At least one of any share above 0, so that a small class is not silently missing on a side."""
    return 0 if share == 0 else max(1, round(share * n))


def check_shares(val: float, test: float) -> None:
    """Raise UserError where shares of validation and test leave nothing to train on."""
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise UserError(f"data.val_fraction={val} and data.test_fraction={test}: each 0 or more, together below 1")

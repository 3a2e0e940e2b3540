from __future__ import annotations

import numpy as np
import pytest
import torch

from calotype.data.items import select, thin_out
from calotype.data.splits import Split, check_disjoint, identity_split, items_by_class, manifest, stratified_split, thinned
from calotype.types import Source, UserError

LABELS = [0] * 50 + [1] * 20 + [2] * 10
NAMES = ("a", "b", "c")


def make(**options):  # type: ignore[no-untyped-def]
    return stratified_split(LABELS, **{"val": 0.1, "test": 0.2, "seed": 0, "class_names": NAMES, **options})


def test_every_class_in_proportion_and_every_item_once() -> None:
    split = make()
    labels = np.array(LABELS)
    assert np.bincount(labels[list(split.test)]).tolist() == [10, 4, 2]
    assert np.bincount(labels[list(split.val)]).tolist() == [5, 2, 1]
    assert sorted([*split.train, *split.val, *split.test]) == list(range(80))


def test_a_function_of_the_seed_and_test_stays_whatever_val_is() -> None:
    assert make() == make()
    assert make(seed=1) != make()
    assert make(val=0.3).test == make().test
    # Frozen: the same on every machine and in every later version.
    assert make().test[:6] == (7, 13, 14, 17, 18, 27)


def test_official_test_set_is_the_test_side() -> None:
    official = [i % 4 == 0 for i in range(80)]
    split = make(official_test=official, test=0.5)
    assert split.test == tuple(range(0, 80, 4))
    assert not set(split.train) & set(split.val)


def test_class_too_small() -> None:
    with pytest.raises(UserError, match="class 'lone' has 1 image"):
        stratified_split([0, 0, 0, 0, 1], val=0.1, test=0.2, seed=0, class_names=("many", "lone"))
    stratified_split([0, 0, 0, 0, 1], val=0, test=0, seed=0, class_names=("many", "lone"))


def too_small(name: str, **options) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError) as error:
        stratified_split([0, 0, 0, 0, 1], **{"val": 0.1, "test": 0.2, "seed": 0, "class_names": ("many", name), **options})
    assert len(str(error.value)) < 200
    return str(error.value)


def test_what_helps_a_class_that_is_too_small() -> None:
    assert too_small("true/nested/deep").endswith("; a nested folder is a class of its own")
    assert too_small("lone").endswith(", or set data.val_fraction or data.test_fraction to 0")
    assert too_small("lone", val=0).endswith(", or set data.test_fraction to 0")
    assert too_small("lone", official_test=[True, False, False, False, False]).endswith(", or set data.val_fraction to 0")
    too_small("n" * 250)
    only_tested = too_small("lone", official_test=[False, False, False, False, True], val=0)
    assert only_tested.startswith("class 'lone' has no training images (all 1 are in the test or val set): add images")
    assert "fraction" not in only_tested


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (-0.1, 0.2), (0, 1)])
def test_impossible_shares(val: float, test: float) -> None:
    for split in (lambda: make(val=val, test=test), lambda: identity_split(LABELS, val=val, test=test, seed=0)):
        with pytest.raises(UserError, match="val_fraction"):
            split()


def test_identity_split_shares_no_identity() -> None:
    labels = np.repeat(np.arange(20), 3)
    split = identity_split(labels.tolist(), val=0.2, test=0.4, seed=3)
    people = [set(labels[list(side)]) for side in (split.train, split.val, split.test)]
    assert [len(p) for p in people] == [8, 4, 8]
    assert sum(len(p) for p in people) == len(set.union(*people))
    assert identity_split(labels.tolist(), val=0.2, test=0.4, seed=3) == split
    with pytest.raises(UserError, match="too few"):
        identity_split([0, 0, 1, 1], val=0.3, test=0.3, seed=0)


def test_shared_identity_is_refused() -> None:
    with pytest.raises(UserError, match="identity 1 stands on two sides of the split: train and test"):
        check_disjoint(Split((0, 1), (), (2,)), [0, 1, 1])


def test_manifest_hash_follows_the_sides() -> None:
    source = Source(name="s", items=torch.zeros(80, 1, 2, 2, dtype=torch.uint8), channels=1)
    told = manifest(make(), source, kind="stratified", seed=0)
    assert told["sizes"] == {"train": 56, "val": 8, "test": 16}
    assert told["hash"] == manifest(make(), source, kind="stratified", seed=0)["hash"]
    assert told["hash"] != manifest(make(seed=1), source, kind="stratified", seed=1)["hash"]
    split = make()
    moved = Split(split.train[1:], (*split.val, split.train[0]), split.test)
    assert told["hash"] != manifest(moved, source, kind="stratified", seed=0)["hash"]


def test_thinned_keeps_so_many_of_each_class_for_training_alone() -> None:
    labels = torch.tensor([0] * 30 + [1] * 30 + [2] * 4)
    whole = stratified_split(labels.tolist(), val=0.1, test=0.2, seed=3, class_names=["a", "b", "c"])
    few = thinned(whole, labels, 5, 3)
    assert (few.val, few.test) == (whole.val, whole.test)
    assert set(few.train) < set(whole.train)
    assert torch.bincount(labels[list(few.train)]).tolist() == [5, 5, 2]
    assert thinned(whole, labels, 5, 3) == few != thinned(whole, labels, 5, 4)
    assert set(few.train) < set(thinned(whole, labels, 6, 3).train)  # more is more of the same
    with pytest.raises(UserError, match="per_class=0"):
        thinned(whole, labels, 0, 3)


def masked_split(labels: list[int], val: float, test: float, seed: int, num_classes: int) -> Split:
    """The rule of `stratified_split` with a mask for each class, as it was first written; shares above 0 only."""
    items, sides = np.asarray(labels), {"train": [], "val": [], "test": []}
    for label in range(num_classes):
        order = np.random.RandomState([seed, label]).permutation(np.flatnonzero(items == label)).tolist()
        num_test, num_val = (max(1, round(share * len(order))) for share in (test, val))
        sides["test"] += order[:num_test]
        sides["val"] += order[num_test : num_test + num_val]
        sides["train"] += order[num_test + num_val :]
    return Split(**{side: tuple(sorted(chosen)) for side, chosen in sides.items()})


@pytest.mark.parametrize("seed", [0, 7])
def test_splits_are_those_of_a_mask_for_each_class(seed: int) -> None:
    labels = np.random.RandomState(seed).permutation(np.repeat(np.arange(30), np.arange(4, 34)))
    names = tuple(f"c{i}" for i in range(30))
    split = stratified_split(labels.tolist(), val=0.1, test=0.2, seed=seed, class_names=names)
    assert split == masked_split(labels.tolist(), 0.1, 0.2, seed, 30)

    train = np.array(split.train)
    kept = [np.random.RandomState([seed, k, 2]).permutation(train[labels[train] == k])[:3] for k in range(30)]
    assert thinned(split, torch.from_numpy(labels), 3, seed).train == tuple(sorted(np.concatenate(kept).tolist()))

    source = Source(
        name="s", items=torch.arange(len(labels)).float()[:, None], channels=0, labels=torch.from_numpy(labels), class_names=names
    )
    few = []
    for k in range(30):
        items = np.flatnonzero(labels == k)
        few += items[np.random.RandomState([seed, k, 1]).permutation(len(items))[:5]].tolist()
    assert thin_out(source, 5, seed).items[:, 0].tolist() == sorted(few)


def test_items_by_class() -> None:
    assert [part.tolist() for part in items_by_class([2, 0, 2, 5, 0, 2], 4)] == [[1, 4], [], [0, 2, 5], []]
    assert [part.tolist() for part in items_by_class([], 2)] == [[], []]


def test_folder_split_is_that_of_the_sorted_folders() -> None:
    names = [f"alphabet{i % 7}/c{i}" for i in range(40)]
    labels = np.repeat(np.arange(40), 2)
    split = identity_split(labels.tolist(), val=0.2, test=0.3, seed=1, names=names, by_folder=True)
    folders = sorted({name.rpartition("/")[0] for name in names})
    of = np.array([folders.index(names[k].rpartition("/")[0]) for k in labels])
    tested = np.random.RandomState(1).permutation(np.arange(7))[:2]
    assert split.test == tuple(np.flatnonzero(np.isin(of, tested)).tolist())


def test_forty_thousand_identities_are_looked_at_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is done for one identity looks at its own items alone: all together at each item a few times."""
    n = 40_000
    labels = torch.arange(n).repeat_interleave(4)
    source = Source(name="s", items=labels.float()[:, None], channels=0, labels=labels, class_names=tuple(map(str, range(n))))
    looked_at = 0

    def counted(function):  # type: ignore[no-untyped-def]
        def call(values, *args, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal looked_at
            looked_at += len(values)
            return function(values, *args, **kwargs)

        return call

    monkeypatch.setattr(np, "flatnonzero", counted(np.flatnonzero))
    monkeypatch.setattr(torch.Tensor, "__eq__", counted(torch.Tensor.__eq__))
    monkeypatch.setattr(torch.Tensor, "nonzero", counted(torch.Tensor.nonzero))
    few = thin_out(select(source, source.class_names[: n - 1], None), 3, 0)
    split = stratified_split(few.labels.tolist(), val=0.3, test=0.3, seed=0, class_names=few.class_names)
    assert [len(side) for side in (split.train, split.val, split.test)] == [n - 1] * 3
    assert looked_at <= 10 * len(labels)

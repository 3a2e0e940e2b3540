from __future__ import annotations

import numpy as np
import pytest
import torch

from calotype.data.splits import Split, check_disjoint, identity_split, manifest, stratified_split, thinned
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

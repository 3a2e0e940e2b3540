"""Pairs: balanced, none twice, no image with itself, no identity on two sides, the same for the same seed; pairs.txt."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from calotype.data import pair_draws
from calotype.data.pair_draws import PairSampler, draw_pairs, read_pairs
from calotype.data.pairs import Pairs
from calotype.data.preprocess import Preprocess
from calotype.datasets.characters import digits
from calotype.datasets.image_folder import image_folder
from calotype.datasets.synthetic_faces import synthetic_faces
from calotype.types import Source, UserError
from helpers import LargestTensor


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [([10, 10, 10], 40), ([2, 1, 30], 60), ([1500, 1500, 1], 3000), ([3, 3], 1000), ([700] * 4, 500)],
)
def test_drawn_pairs(counts: list[int], wanted: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    pairs = draw_pairs(labels, wanted, 3)
    first, second, same = pairs.unbind(1)
    assert (first < second).all()
    assert torch.equal(labels[first] == labels[second], same.bool())
    assert int(same.sum()) * 2 == len(pairs)
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == len(pairs)
    possible = sum(c * (c - 1) // 2 for c in counts)
    between = (sum(counts) ** 2 - sum(c * c for c in counts)) // 2
    assert len(pairs) == 2 * min(wanted // 2, possible, between)
    assert torch.equal(pairs, draw_pairs(labels, wanted, 3))
    assert len(pairs) == 2 * min(possible, between) or not torch.equal(pairs, draw_pairs(labels, wanted, 4))


def test_identities_share_the_pairs() -> None:
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor([5, 40, 40, 40]))
    pairs = draw_pairs(labels, 240, 0)
    share = torch.bincount(labels[pairs[pairs[:, 2] == 1, 0]], minlength=4)
    assert share.tolist() == [10, 37, 37, 36]  # five images have ten pairs
    negative = pairs[pairs[:, 2] == 0, :2]
    assert torch.bincount(labels[negative.flatten()], minlength=4).min() > 30  # a person with few images meets others as often


def test_no_pair_of_a_kind_gives_none() -> None:
    assert len(draw_pairs(torch.arange(5), 10, 0)) == 0
    assert len(draw_pairs(torch.zeros(5).long(), 10, 0)) == 0


def test_epochs_differ_or_are_fixed_and_two_processes_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.arange(60) // 6
    items = torch.arange(60) + 1000

    def epoch(number: int, **options):  # type: ignore[no-untyped-def]
        sampler = PairSampler(items, labels, num_pairs=64, batch_size=8, seed=1, **options)
        sampler.set_epoch(number)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        return torch.cat(batches)

    one = epoch(0)
    assert len(one) == 64
    assert (one[:, :2] >= 1000).all()
    assert torch.equal(one, epoch(0))
    as_sets = [{tuple(row) for row in epoch(n).tolist()} for n in (0, 1)]
    assert as_sets[0] != as_sets[1]
    fixed = [epoch(n, redraw=False) for n in (0, 1)]
    assert {tuple(row) for row in fixed[0].tolist()} == {tuple(row) for row in fixed[1].tolist()}
    assert not torch.equal(fixed[0], fixed[1])
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr("calotype.data.pair_draws.processes", lambda rank=rank: (rank, 2))
        parts.append(epoch(0))
    assert {tuple(row) for part in parts for row in part.tolist()} == as_sets[0]


def make(source: Source, **options) -> Pairs:  # type: ignore[no-untyped-def]
    data = Pairs(dataset=source, preprocess=Preprocess(), **{"train_pairs": 100, "val_pairs": 40, "test_pairs": 60, **options})
    data.setup("fit")
    return data


def test_no_identity_on_two_sides_and_the_manifest_tells_the_pairs() -> None:
    source = synthetic_faces(num_identities=12, images_per_identity=4, size=16)
    data = make(source, val_fraction=0.25, test_fraction=0.25)
    labels = source.labels
    assert labels is not None
    sides = {side: set(labels[list(getattr(data.split, side))].tolist()) for side in ("train", "val", "test")}
    assert [len(people) for people in sides.values()] == [6, 3, 3]
    for side in ("val", "test"):
        assert set(labels[data.eval_pairs[side][:, :2].flatten()].tolist()) <= sides[side]
    for batch in data.train_dataloader():
        assert batch.images.shape[1:] == (3, 16, 16)
        assert 0 < int(batch.same.sum()) < len(batch.same)
    manifest = data.split_manifest
    assert manifest["num_pairs"] == {"val": 36, "test": 36}  # six pairs of each of three people, and as many of two
    again, other = make(source, val_fraction=0.25, test_fraction=0.25), make(source, val_fraction=0.25, test_fraction=0.25, split_seed=1)
    assert manifest == again.split_manifest
    assert manifest["hash"] != other.split_manifest["hash"]
    fewer = make(source, val_fraction=0.25, test_fraction=0.25, test_pairs=20)
    assert manifest["hash"] != fewer.split_manifest["hash"]


def test_a_batch_holds_the_images_of_its_pairs() -> None:
    source = digits()
    data = make(source, split="image", batch_size=10)
    rows = next(iter(data.train_dataloader().sampler))  # type: ignore[call-overload]
    batch = next(iter(data.train_dataloader()))
    assert isinstance(source.items, torch.Tensor)
    assert torch.equal(batch.images[batch.first], source.items[rows[:, 0]])
    assert torch.equal(batch.images[batch.second], source.items[rows[:, 1]])
    assert len(batch.images) == len(rows[:, :2].unique())
    assert torch.equal(batch.same, rows[:, 2].bool())
    sides = [set(getattr(data.split, side)) for side in ("train", "val", "test")]
    assert not (sides[0] & sides[1])
    assert not (sides[0] & sides[2])
    assert not (sides[1] & sides[2])
    assert set(rows[:, :2].flatten().tolist()) <= sides[0]


def test_pairs_among_few_images() -> None:
    source = synthetic_faces(num_identities=12, images_per_identity=6, size=16)
    data = make(source, val_fraction=0.25, test_fraction=0.25, identities_per_batch=4, images_per_identity=3, batch_size=24, train_pairs=96)
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(batches) == 4
    for batch in batches:
        assert batch.images.shape == (12, 3, 16, 16)
        assert len(batch.same) == 24  # 12 of one identity, all there are, and as many of two
        assert int(batch.same.sum()) == 12
        pairs = {frozenset(pair) for pair in zip(batch.first.tolist(), batch.second.tolist(), strict=True)}
        assert len(pairs) == 24
        assert all(len(pair) == 2 for pair in pairs)
    again = list(data.train_dataloader())
    assert all(torch.equal(a.images, b.images) and torch.equal(a.first, b.first) for a, b in zip(batches, again, strict=True))
    for rows in loader.sampler:  # type: ignore[attr-defined]
        labels = source.labels[rows[:, :2]]  # type: ignore[index]
        assert torch.equal(labels[:, 0] == labels[:, 1], rows[:, 2].bool())
        assert set(rows[:, :2].flatten().tolist()) <= set(data.split.train)
    with pytest.raises(UserError, match=r"data.identities_per_batch=9: there are 6 training identities"):
        make(source, val_fraction=0.25, test_fraction=0.25, identities_per_batch=9).train_dataloader()


@pytest.fixture
def faces(tmp_path: Path) -> Source:
    """Six people with three images each, named as LFW's are."""
    rng = np.random.RandomState(0)
    for name in ("Ann", "Bob", "Cy", "Di", "Ed", "Flo", "Gus", "Hal"):
        (tmp_path / "faces" / name).mkdir(parents=True)
        for i in (1, 2, 3):
            Image.fromarray(rng.randint(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "faces" / name / f"{name}_{i:04d}.png")
    return image_folder(str(tmp_path / "faces"))


GOOD = "2\t1\nAnn\t1\t2\nAnn\t1\tBob\t3\nCy\t2\t3\nCy\t1\tDi\t1\n"


def test_pairs_file_as_lfw_has_it(faces: Source, tmp_path: Path) -> None:
    file = tmp_path / "pairs.txt"
    file.write_text(GOOD)
    rows, folds = read_pairs(file, faces)
    names = [[faces.item_name(i) for i in row[:2]] for row in rows.tolist()]
    assert names[0] == ["Ann/Ann_0001.png", "Ann/Ann_0002.png"]
    assert names[1] == ["Ann/Ann_0001.png", "Bob/Bob_0003.png"]
    assert rows[:, 2].tolist() == [1, 0, 1, 0]
    assert folds.tolist() == [0, 0, 1, 1]
    data = make(faces, pairs_file=str(file), val_fraction=0.5)
    assert torch.equal(data.eval_pairs["test"], rows)
    assert data.folds is not None
    tested = {"Ann", "Bob", "Cy", "Di"}
    trained = {faces.item_name(i).partition("/")[0] for i in (*data.split.train, *data.split.val)}
    assert trained == {"Ed", "Flo", "Gus", "Hal"}
    one = make(faces, pairs_file=str(file), fold=2, val_fraction=0.4)
    assert torch.equal(one.eval_pairs["test"], rows[2:])
    assert one.folds is None
    assert {faces.item_name(i).partition("/")[0] for i in (*one.split.train, *one.split.val)} == {"Ann", "Bob", "Ed", "Flo", "Gus", "Hal"}
    assert tested


BAD = {
    "2 1\nAnn 1 2\nAnn 1 Bob 3\nAnn 2 3\nCy 1 Di 1\n": r"line 4: Ann stands in folds 1 and 2; a person may be in one fold only",
    "1 1\nAnn 1 2\nAnn 1 Zoe 3\n": r"line 3: faces has no image 3 of Zoe",
    "1 1\nAnn 1 9\nAnn 1 Bob 3\n": r"line 2: faces has no image 9 of Ann",
    "1 1\nAnn 1 1\nAnn 1 Bob 3\n": r"line 2: an image with itself",
    "1 2\nAnn 1 2\nAnn 1 Bob 3\n": r"2 pairs, line 1 says 1 x 2 x 2",
    "1 1\nAnn 1\nAnn 1 Bob 3\n": r"line 2: neither",
    "folds\n": r"line 1: give the number of folds",
    "": r"line 1: give the number of folds",
}


@pytest.mark.parametrize("text", BAD)
def test_mistakes_in_a_pairs_file(text: str, faces: Source, tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(UserError, match=BAD[text]) as error:
        read_pairs(tmp_path / "pairs.txt", faces)
    assert "\n" not in str(error.value)


def test_a_pairs_file_from_windows(faces: Source, tmp_path: Path) -> None:
    """Its line ends, and the mark that Notepad puts before the first line."""
    file = tmp_path / "pairs.txt"
    file.write_text(GOOD)
    rows, folds = read_pairs(file, faces)
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    found = read_pairs(file, faces)
    assert torch.equal(found[0], rows)
    assert torch.equal(found[1], folds)
    for what in ("pipe", "folder"):
        file.unlink()
        os.mkfifo(file) if what == "pipe" else file.mkdir()
        with pytest.raises(UserError, match=r"data.pairs_file=.*pairs.txt: a folder, pipe or device, and a text file is needed"):
            read_pairs(file, faces)


def test_wrong_options_are_told(faces: Source, tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text(GOOD)
    for options, message in (
        ({"fold": 1}, "data.fold=1: it takes data.pairs_file"),
        ({"fold": 3, "pairs_file": str(tmp_path / "pairs.txt")}, "has folds 1 to 2"),
        ({"pairs_file": "nowhere.txt"}, "nowhere.txt: No such file"),
        ({"train_pairs": 1}, "data.train_pairs=1: at least 2"),
        ({"max_images": 1}, "data.max_images=1: at least 2"),
    ):
        with pytest.raises(UserError, match=message):
            make(faces, **options)


def test_one_image_of_an_identity_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    source = synthetic_faces(num_identities=8, images_per_identity=3, size=16)
    keep = torch.ones(24, dtype=torch.bool)
    keep[1:3] = False  # the first person has one image
    assert isinstance(source.items, torch.Tensor)
    assert source.labels is not None
    lone = Source(name="lone", items=source.items[keep], channels=3, labels=source.labels[keep], class_names=source.class_names)
    make(lone, val_fraction=0.0, test_fraction=0.0)
    assert "1 of 8 training identities have one image: they appear in pairs of two identities only" in capsys.readouterr().out


@pytest.mark.parametrize("total", [0, 1, 7, 20, 33, 41])
def test_even_shares_are_those_of_one_after_the_other(total: int) -> None:
    capacity = torch.tensor([3, 0, 1, 10, 6, 1, 20])
    share, left = [0] * len(capacity), total
    while left > 0:
        open_ = [i for i, most in enumerate(capacity.tolist()) if most > share[i]]
        each = max(1, left // len(open_))
        for i in open_:
            more = min(each, int(capacity[i]) - share[i], left)
            share[i] += more
            left -= more
    assert pair_draws._evenly(capacity, total).tolist() == share


def test_all_pairs_of_two_identities_without_those_of_one() -> None:
    """One large identity has half a million pairs of its own, and six hundred with the other."""
    torch.manual_seed(0)
    labels = torch.randint(0, 4, (30,))
    first, second = torch.triu_indices(30, 30, 1)
    expected = (first * 30 + second)[labels[first] != labels[second]]
    order = labels.argsort(stable=True)
    counts = labels.bincount()
    start = counts.cumsum(0) - counts
    assert torch.equal(pair_draws._all_between(counts, start, order, 30), expected)

    large = torch.tensor([0] * 1000 + [1] * 2)
    order, counts, start = large.argsort(stable=True), torch.tensor([1000, 2]), torch.tensor([0, 1000])
    with LargestTensor() as largest:
        code = pair_draws._between(counts, start, order, 1500, 2000, 1002, torch.Generator().manual_seed(0))
    assert len(code.unique()) == 1500
    assert largest.numel <= 4000

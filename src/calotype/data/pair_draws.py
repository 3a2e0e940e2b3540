"""Pairs of images drawn evenly: half of one identity and half of two, none twice, no image with itself; or read from a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Sampler

from calotype.data.identity_sampler import IdentitySampler
from calotype.data.sampler import processes
from calotype.data.splits import items_by_class
from calotype.types import Source, UserError

ENUMERATED = 200_000  # pairs of one identity that are listed before the draw; of more, pairs are drawn until they suffice


class PairSampler(Sampler[Tensor]):
    """Yields rows (first, second, same), int64 (B, 3), of pairs drawn for (seed, epoch), or for the seed alone.

    Args:
        items: item numbers, (N,).
        labels: their identities, (N,).
        num_pairs: in an epoch, over all processes.
        batch_size: of one process.
        seed: of the pairs and their order.
        redraw: other pairs in every epoch.
    """

    def __init__(self, items: Tensor, labels: Tensor, *, num_pairs: int, batch_size: int, seed: int = 0, redraw: bool = True) -> None:
        self.items = items
        self.labels = labels
        self.num_pairs = num_pairs
        self.batch_size = batch_size
        self.seed = seed
        self.redraw = redraw
        self.epoch = 0
        self.available = len(draw_pairs(labels, num_pairs, seed))

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        share = self.available // processes()[1]
        return max(share // self.batch_size, min(share, 1))

    def __iter__(self) -> Iterator[Tensor]:
        rank, world = processes()
        stream = self.seed * 1_000_003 + self.epoch
        pairs = draw_pairs(self.labels, self.num_pairs, stream if self.redraw else self.seed)
        order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(stream % 2**63))
        pairs = pairs[order]
        mine = torch.cat([self.items[pairs[:, :2]], pairs[:, 2:]], 1)[rank : len(pairs) // world * world : world]
        for i in range(len(self)):
            yield mine[i * self.batch_size : (i + 1) * self.batch_size]


class PooledPairSampler(IdentitySampler):
    """Yields rows of pairs among the P x K images of a batch: each image stands in many pairs, and is encoded once.

    Args:
        items, labels, seed: as of PairSampler; every identity has two images or more.
        identities, images: P and K, of one process.
        num_pairs: in an epoch, over all processes.
        batch_size: of one process; fewer where the images have not so many pairs of each kind.
    """

    def __init__(
        self, items: Tensor, labels: Tensor, *, identities: int, images: int, num_pairs: int, batch_size: int, seed: int = 0
    ) -> None:
        people = len(labels.unique())
        if people < identities * processes()[1]:
            raise UserError(f"data.identities_per_batch={identities}: there are {people} training identities")
        batches = max(1, num_pairs // (batch_size * processes()[1]))
        super().__init__(items, labels, identities=identities, images=images, num_batches=batches, seed=seed)
        self.label_of = dict(zip(items.tolist(), labels.tolist(), strict=True))
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Tensor]:
        for number, drawn in enumerate(super().__iter__()):
            pool = drawn.unique()  # an identity with fewer than K images comes with some of them twice
            labels = torch.tensor([self.label_of[item] for item in pool.tolist()])
            pairs = draw_pairs(labels, self.batch_size, (self.seed * 1_000_003 + self.epoch) * 1_000_003 + number)
            yield torch.cat([pool[pairs[:, :2]], pairs[:, 2:]], 1)


def draw_pairs(labels: Tensor, num_pairs: int, seed: int) -> Tensor:
    """Rows (first, second, same) of positions in `labels`, half of them of one identity, in sorted order; int64 (M, 3).

    Identities share the pairs as evenly as their images allow. Where there are fewer pairs of a kind than half of
    `num_pairs`, both kinds have so many: M may be smaller.
    """
    generator = torch.Generator().manual_seed(seed % 2**63)
    _, numbered, counts = labels.unique(return_inverse=True, return_counts=True)
    order = numbered.argsort(stable=True)
    start = counts.cumsum(0) - counts
    capacity = counts * (counts - 1) // 2
    total_negative = (len(labels) ** 2 - int((counts**2).sum())) // 2
    half = min(num_pairs // 2, int(capacity.sum()), total_negative)
    quota = _evenly(capacity, half)
    genuine = []
    for person in quota.nonzero()[:, 0].tolist():
        pairs = _within(int(counts[person]), int(quota[person]), generator)
        genuine.append(order[start[person] + pairs])
    if not genuine:
        return torch.zeros(0, 3, dtype=torch.long)
    first, second = torch.cat(genuine).sort(1).values.unbind(1)
    positive = torch.stack([first, second, torch.ones_like(first)], 1)
    code = _between(counts, start, order, half, total_negative, len(labels), generator)
    negative = torch.stack([code // len(labels), code % len(labels), torch.zeros_like(code)], 1)
    rows = torch.cat([positive, negative])
    return rows[(rows[:, 0] * len(labels) + rows[:, 1]).argsort()]


def read_pairs(path: str | Path, source: Source) -> tuple[Tensor, Tensor]:
    """LFW's `pairs.txt`: rows (first, second, same) of item numbers, int64 (M, 3), and the fold of each, (M,).

    The first line gives the number of folds and of pairs of each kind in a fold (or that number alone, for one fold).
    Then for each fold so many lines `name i j` and so many `name i name j`; i and j count a person's images from 1,
    as the files `name_0001.jpg` do.

    Raises:
        UserError: no such file, a line that cannot be read, an image that is not there, a person in two folds.
    """
    if Path(path).exists() and not Path(path).is_file():  # a pipe would be read for ever
        raise UserError(f"data.pairs_file={path}: a folder, pipe or device, and a text file is needed")
    try:
        lines = [
            line.split() for line in Path(path).read_text(encoding="utf-8-sig").splitlines() if line.strip()
        ]  # Windows' mark is no text
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"data.pairs_file={path}: {getattr(error, 'strerror', None) or 'not text'}") from None
    try:
        head = [int(part) for part in lines[0]]
        num_folds, each = head if len(head) == 2 else (1, *head)
    except (IndexError, ValueError, TypeError):
        raise UserError(f"data.pairs_file={path}, line 1: give the number of folds and of pairs of each kind in a fold") from None
    if len(lines) - 1 != 2 * each * num_folds or not lines[1:]:
        raise UserError(f"data.pairs_file={path}: {len(lines) - 1} pairs, line 1 says {num_folds} x 2 x {each}")
    images = _numbered_images(source)
    rows, folds = [], []
    where: dict[str, int] = {}
    for number, parts in enumerate(lines[1:]):
        at, fold = f"data.pairs_file={path}, line {number + 2}", number // (2 * each)
        if len(parts) not in (3, 4):
            raise UserError(f"{at}: neither `name i j` nor `name i name j`")
        first, second = (parts[0], parts[1]), (parts[0] if len(parts) == 3 else parts[2], parts[-1])
        for name, index in (first, second):
            if (name, index.lstrip("0")) not in images:
                raise UserError(f"{at}: {source.name} has no image {index} of {name}")
            if where.setdefault(name, fold) != fold:
                raise UserError(f"{at}: {name} stands in folds {where[name] + 1} and {fold + 1}; a person may be in one fold only")
        if first == second:
            raise UserError(f"{at}: an image with itself")
        a, b = (images[name, index.lstrip("0")] for name, index in (first, second))
        rows.append((a, b, int(first[0] == second[0])))
        folds.append(fold)
    return torch.tensor(rows), torch.tensor(folds)


def _numbered_images(source: Source) -> dict[tuple[str, str], int]:
    """Item number by (identity, number of its image): by the number at the end of the file's name, else by order."""
    assert source.labels is not None
    found: dict[tuple[str, str], int] = {}
    for name, items in zip(source.class_names, items_by_class(source.labels, len(source.class_names)), strict=True):
        for place, item in enumerate(items.tolist(), 1):
            stem = Path(source.item_name(item)).stem
            tail = stem.rpartition("_")[2]
            number = tail.lstrip("0") if stem.startswith(name.rpartition("/")[2] + "_") and tail.isdigit() else str(place)
            found[name, number] = item
    return found


def _evenly(capacity: Tensor, total: int) -> Tensor:
    """Shares of `total`, as even as `capacity` allows; the remainder goes to the first that can take one more."""
    share = torch.zeros_like(capacity)
    left = total
    while left > 0:
        room = (capacity - share).clamp(min=0)
        each = max(1, left // int((room > 0).sum()))
        more = room.clamp(max=each)
        # The first take theirs, until nothing is left.
        more = torch.minimum(more, (left - (more.cumsum(0) - more)).clamp(min=0))
        share += more
        left -= int(more.sum())
    return share


def _within(count: int, wanted: int, generator: torch.Generator) -> Tensor:
    """`wanted` different pairs of 0..count-1: (wanted, 2)."""
    total = count * (count - 1) // 2
    if total <= ENUMERATED or wanted > total // 2:
        pairs = torch.triu_indices(count, count, 1).T
        return pairs[torch.randperm(total, generator=generator)[:wanted]]
    code = torch.zeros(0, dtype=torch.long)
    while len(code) < wanted:
        drawn = torch.randint(count, (wanted, 2), generator=generator).sort(1).values
        fresh = drawn[drawn[:, 0] != drawn[:, 1]]
        code = _distinct(torch.cat([code, fresh[:, 0] * count + fresh[:, 1]]))
    return torch.stack([code[:wanted] // count, code[:wanted] % count], 1)


def _between(counts: Tensor, start: Tensor, order: Tensor, wanted: int, total: int, size: int, generator: torch.Generator) -> Tensor:
    """`wanted` different pairs of images of two identities, every two identities alike: codes first * size + second."""
    if wanted > total // 2:
        code = _all_between(counts, start, order, size)
        return code[torch.randperm(len(code), generator=generator)[:wanted]]
    code = torch.zeros(0, dtype=torch.long)
    while len(code) < wanted:
        one = torch.randint(len(counts), (wanted,), generator=generator)
        other = (one + torch.randint(1, len(counts), (wanted,), generator=generator)) % len(counts)
        people = torch.stack([one, other], 1)
        images = order[start[people] + (torch.rand(people.shape, generator=generator) * counts[people]).long()].sort(1).values
        code = _distinct(torch.cat([code, images[:, 0] * size + images[:, 1]]))
    return code[:wanted]


def _all_between(counts: Tensor, start: Tensor, order: Tensor, size: int) -> Tensor:
    """All pairs of images of two identities as codes first * size + second, ascending, (total,).

    Those of one identity are not listed first and then left out: one large identity has many more of them.
    """
    identity = torch.empty_like(order).scatter_(0, order, torch.repeat_interleave(torch.arange(len(counts)), counts))
    others = size - counts[identity]  # (size,) partners of each image
    first = torch.repeat_interleave(torch.arange(size), others)
    number = torch.arange(len(first)) - torch.repeat_interleave(others.cumsum(0) - others, others)
    # In `order` the images of an identity are in a row: its partners are what comes before and after.
    here = identity[first]
    second = order[torch.where(number < start[here], number, number + counts[here])]
    return (first * size + second)[first < second].sort().values


def _distinct(code: Tensor) -> Tensor:
    """In the order in which they first came."""
    values, inverse = code.unique(return_inverse=True)
    first = torch.full_like(values, len(code)).scatter_reduce(0, inverse, torch.arange(len(code)), "amin")
    return code[first.sort().values]

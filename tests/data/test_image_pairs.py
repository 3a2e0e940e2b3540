"""Pairs: what each kind makes of an image, and that unpaired training sees no pair and evaluation nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from calotype.data.image_pairs import ImagePairs
from calotype.data.pairing import Edges, Grey, Hole, Inverted, SideBySide, Small
from calotype.data.preprocess import Preprocess
from calotype.types import Source, UserError

IMAGES = torch.rand(6, 3, 16, 24, generator=torch.Generator().manual_seed(0))
ITEMS = torch.arange(6)


def source(n: int = 40, labels: bool = True) -> Source:
    pixels = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 3, 8, 8).contiguous()
    names = tuple("abcd") if labels else ()
    return Source(name="numbered", items=pixels, channels=3, labels=torch.arange(n) % 4 if labels else None, class_names=names)


def test_grey() -> None:
    given, target = Grey()(IMAGES, ITEMS)
    assert target is IMAGES
    want = 0.299 * IMAGES[:, 0] + 0.587 * IMAGES[:, 1] + 0.114 * IMAGES[:, 2]
    assert torch.allclose(given[:, 0], want, atol=1e-6)
    with pytest.raises(UserError, match="grey already"):
        Grey()(IMAGES[:, :1], ITEMS)


def test_edges_stand_where_the_image_changes() -> None:
    step = torch.zeros(1, 1, 8, 8)
    step[..., 4:] = 0.5
    given, _ = Edges(contrast=1.0)(step, ITEMS[:1])
    want = torch.ones(8)
    want[3:5] = 0.5  # a Sobel slope of the whole step on either side of it
    assert torch.allclose(given[0, 0], want.expand(8, 8))


def test_a_hole_is_the_items_own() -> None:
    given, target = Hole(share=0.5)(IMAGES, ITEMS)
    assert given.shape == (6, 4, 16, 24)
    hole = given[:, 3:] == 1
    assert (hole.flatten(1).sum(1) == 8 * 12).all()
    assert torch.equal(torch.where(hole, target, given[:, :3]), target)
    assert torch.where(hole, given[:, :3], torch.tensor(0.5)).eq(0.5).all()
    rows = hole[:, 0].any(2).long()
    assert all(int(row.nonzero()[-1] - row.nonzero()[0]) == 7 for row in rows)  # one piece
    assert len({tuple(h.flatten().tolist()) for h in hole}) > 3
    later, _ = Hole(share=0.5)(IMAGES[3:], ITEMS[3:])
    assert torch.equal(later, given[3:])  # whatever stands beside it in the batch
    assert not torch.equal(Hole(share=0.5, seed=1)(IMAGES, ITEMS)[0], given)


def test_holes_lie_everywhere() -> None:
    given, _ = Hole(share=0.25)(torch.zeros(4000, 1, 8, 8), torch.arange(4000))
    seen = (given[:, 1] == 1).float().mean(0)
    assert seen.min() > 0.01  # corners included
    assert seen[3:5, 3:5].mean().item() == pytest.approx((2 / 7) ** 2, abs=0.03)


def test_small_is_cubic_interpolation_of_means() -> None:
    given, target = Small(factor=4)(IMAGES[..., :16], ITEMS)
    want = F.interpolate(F.avg_pool2d(target, 4), scale_factor=4, mode="bicubic").clamp(0, 1)
    assert torch.allclose(given, want, atol=1e-6)
    with pytest.raises(UserError, match="no multiples"):
        Small(factor=8)(IMAGES[:, :, :12], ITEMS)


def test_inverted_and_side_by_side() -> None:
    assert torch.equal(Inverted()(IMAGES, ITEMS)[1], 1 - IMAGES)
    left, right = SideBySide()(IMAGES, ITEMS)
    assert torch.equal(torch.cat([left, right], 3), IMAGES)
    assert torch.equal(SideBySide(swap=True)(IMAGES, ITEMS)[0], right)
    with pytest.raises(UserError, match="cannot be halved"):
        SideBySide()(IMAGES[..., :7], ITEMS)


@pytest.mark.parametrize(
    "make", [lambda: Hole(share=0), lambda: Hole(share=1), lambda: Small(factor=3), lambda: Edges(contrast=0)], ids=["0", "1", "3", "c"]
)
def test_options_beyond_reason(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"data\.pair"):
        make()


def batches(data: ImagePairs, side: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    data.setup("fit")
    return [(b.inputs[:, 0, 0, 0], b.targets[:, 0, 0, 0]) for b in getattr(data, f"{side}_dataloader")()]


def test_pairs_are_of_one_image_and_unpaired_ones_never() -> None:
    paired = ImagePairs(dataset=source(), preprocess=Preprocess(), pair=Inverted(), batch_size=5)
    assert all(torch.equal(a, b) for side in ("train", "val", "test") for a, b in batches(paired, side))
    unpaired = ImagePairs(dataset=source(), preprocess=Preprocess(), pair=Inverted(), batch_size=5, unpaired=True)
    seen = batches(unpaired, "train")
    first, last = (set(torch.cat([pair[i] for pair in seen]).tolist()) for i in (0, 1))
    assert first
    assert not first & last
    assert first | last <= {int(unpaired.items.pixels(torch.tensor([i]))[0, 0, 0, 0]) for i in unpaired.split.train}
    assert all(torch.equal(a, b) for a, b in batches(unpaired, "test"))


def test_epochs_differ_and_come_again() -> None:
    data = ImagePairs(dataset=source(), preprocess=Preprocess(), pair=Inverted(), batch_size=5, unpaired=True)
    data.setup("fit")
    loader = data.train_dataloader()
    orders = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        orders.append([b.indices.tolist() for b in loader])
    assert orders[0] == orders[2] != orders[1]


def test_no_person_stands_on_two_sides() -> None:
    data = ImagePairs(dataset=source(), preprocess=Preprocess(), pair=Grey(), split="identity", val_fraction=0.25, test_fraction=0.25)
    sides = [set((np.array(getattr(data.split, side)) % 4).tolist()) for side in ("train", "val", "test")]
    assert not (sides[0] & sides[1])
    assert not (sides[0] & sides[2])
    assert not (sides[1] & sides[2])
    assert data.spec.image_shape == (3, 8, 8)
    assert data.spec.input_shape == (1, 8, 8)
    with pytest.raises(UserError, match="does not say who"):
        ImagePairs(dataset=source(labels=False), preprocess=Preprocess(), pair=Grey(), split="identity")
    assert ImagePairs(dataset=source(labels=False), preprocess=Preprocess(), pair=Grey()).spec.class_names == ()

"""Levels and binarisation: which values, how often, and what they depend on."""

from __future__ import annotations

import pytest
import torch

from calotype.data.levels import quantise
from calotype.data.preprocess import Preprocess
from calotype.data.unlabelled import Unlabelled
from calotype.types import Source, UserError

BYTES = torch.arange(256, dtype=torch.float32).view(1, 1, 16, 16) / 255
ITEM = torch.tensor([3])


def levels(images: torch.Tensor, count: int, **options: object) -> torch.Tensor:
    defaults = {"binarise": "threshold", "seed": 0, "training": False}
    return quantise(images, ITEM.expand(len(images)), count, **{**defaults, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [2, 4, 16, 256])
def test_equal_parts(count: int) -> None:
    found = levels(BYTES, count)
    assert torch.allclose(found.unique() * (count - 1), torch.arange(count, dtype=torch.float32), atol=1e-4)
    assert (torch.bincount((found * (count - 1)).round().long().flatten()) == 256 // count).all()
    if count == 256:
        assert torch.equal(found, BYTES)


def test_stochastic_is_as_often_as_the_grey_value_says_and_the_items_own() -> None:
    grey = torch.full((4000, 1, 2, 2), 0.3)
    items = torch.arange(4000)
    drawn = quantise(grey, items, 2, binarise="stochastic", seed=0, training=False)
    assert drawn.mean((0, 1)).sub(0.3).abs().max() < 0.03
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(quantise(grey[10:20], items[10:20], 2, binarise="stochastic", seed=0, training=True), drawn[10:20])
    assert not torch.equal(quantise(grey, items, 2, binarise="stochastic", seed=1, training=False), drawn)
    corner, next_one = drawn[:, 0, 0, 0], drawn[:, 0, 0, 1]
    assert abs(float(torch.corrcoef(torch.stack([corner, next_one]))[0, 1])) < 0.06


def test_dynamic_is_drawn_anew_in_training_alone() -> None:
    torch.manual_seed(0)
    grey = torch.full((50, 1, 4, 4), 0.5)
    options = {"binarise": "dynamic", "seed": 0}
    first, second = (levels(grey, 2, **options, training=True) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(levels(grey, 2, **options), levels(grey, 2, binarise="stochastic", seed=0))


def test_black_and_white_stay() -> None:
    ends = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    assert torch.equal(levels(ends, 2, binarise="stochastic"), ends)


def test_the_data_module_gives_levels() -> None:
    pixels = torch.randint(0, 256, (30, 1, 4, 4), dtype=torch.uint8)
    data = Unlabelled(dataset=Source(name="x", items=pixels, channels=1), preprocess=Preprocess(), levels=2, batch_size=5)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    given = data.on_after_batch_transfer(batch, 0)
    whole = data.quantised("train")
    place = [data.split.train.index(i) for i in batch.indices.tolist()]
    assert torch.equal(given.images.long(), whole[place])
    assert whole.unique().tolist() == [0, 1]
    with pytest.raises(UserError, match=r"data\.levels=1"):
        Unlabelled(dataset=Source(name="x", items=pixels, channels=1), preprocess=Preprocess(), levels=1)

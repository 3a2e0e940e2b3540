"""Pieces of a texture: from where, how many, and none from what is set aside."""

from __future__ import annotations

import pytest
import torch

from calotype.data.preprocess import Preprocess
from calotype.data.texture import TexturePieces
from calotype.types import Source, UserError

# Every pixel says which column it stands in.
PICTURE = Source(name="columns", items=torch.arange(100, dtype=torch.uint8).expand(1, 1, 40, 100).contiguous(), channels=1)


def make(**options: int) -> TexturePieces:
    return TexturePieces(dataset=PICTURE, preprocess=Preprocess(), **{"piece": 8, "pieces": 64, "levels": 256, "batch_size": 16, **options})


def columns(images: torch.Tensor) -> set[int]:
    return set((images * 255).round().long().flatten().tolist())


def test_no_pixel_stands_on_two_sides() -> None:
    data = make(pieces=4000)
    seen = {side: set().union(*(columns(b.images) for b in getattr(data, f"{side}_dataloader")())) for side in ("train", "val", "test")}
    assert seen == {"train": set(range(60)), "val": set(range(60, 76)), "test": set(range(80, 96))}  # two pieces of 8 side by side


def test_pieces_are_pieces() -> None:
    data = make()
    batches = list(data.train_dataloader())
    assert [len(b.images) for b in batches] == [16] * 4
    for image in batches[0].images:
        assert torch.allclose(image.diff(dim=2) * 255, torch.ones(1, 8, 7), atol=1e-3)
    assert data.spec.image_shape == (1, 8, 8)
    assert data.quantised("test").flatten().bincount(minlength=100).tolist() == [0] * 80 + [40] * 16 + [0] * 4  # each pixel once
    assert torch.equal(torch.cat([b.images for b in data.test_dataloader()]), data.quantised("test").float() / 255)


def test_epochs_differ_and_come_again() -> None:
    loader = make().train_dataloader()
    seen = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        seen.append([b.indices.tolist() for b in loader])
    assert seen[0] == seen[2] != seen[1]


def test_few_levels() -> None:
    data = make(levels=16)
    assert data.quantised("train").unique().tolist() == [0, 1, 2, 3]  # of columns below 60 of 256
    assert data.quantised("test").unique().tolist() == [5]


@pytest.mark.parametrize(
    ("options", "message"), [({"piece": 21}, "set aside"), ({"index": 1}, "has 1 images"), ({"levels": 1}, "levels=1")]
)
def test_options_beyond_reason(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**options)

"""Pieces of one picture of a texture, for a model that is to draw more of it."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any, ClassVar

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from calotype.data.items import Items, as_float, with_labels
from calotype.data.levels import check_levels, quantise
from calotype.data.preprocess import Preprocess
from calotype.data.sampler import EpochSampler
from calotype.ranges import Positive, Seed, Two
from calotype.types import DataSpec, Source, UnlabelledBatch, UserError


class TexturePieces(LightningDataModule):
    """Draws square pieces from anywhere in a picture; its right part is set aside, a fifth of the width each for validation and test.

    Args:
        dataset: a source; of several images the one at `index`.
        preprocess: for the image.
        index: which image.
        piece: pixels a side.
        pieces: in an epoch; validation and test have those that lie side by side, so that no pixel counts twice.
        levels: of a pixel, a power of two from 2 to 256; two are cut at one half.
        batch_size, eval_batch_size: pieces in a batch of one process.
        seed: of the draw.
    """

    batch = UnlabelledBatch
    takes_one: ClassVar = True  # image

    def __init__(
        self,
        *,
        dataset: Source,
        preprocess: Preprocess,
        index: int = 0,
        piece: Positive = 32,
        pieces: Positive = 2048,
        levels: Two = 16,
        batch_size: Positive = 32,
        eval_batch_size: Positive = 128,
        seed: Seed = 0,
    ) -> None:
        super().__init__()
        if not 0 <= index < len(dataset):
            raise UserError(f"data.index={index}: {dataset.name} has {len(dataset)} images, 0 to {len(dataset) - 1}")
        if min(piece, pieces, batch_size, eval_batch_size) < 1:
            raise UserError(f"data: piece={piece}, pieces={pieces}, batch_size={batch_size}, eval_batch_size={eval_batch_size}: at least 1")
        check_levels(levels)
        self.dataset = dataset
        self.levels = levels
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.seed = seed
        items = Items(with_labels(dataset), preprocess, ram_budget=0)
        image = quantise(
            as_float(items.pixels(torch.tensor([index])), None, training=False),
            torch.tensor([index]),
            levels,
            binarise="threshold",
            seed=0,
            training=False,
        )[0]
        self.image = image
        channels, height, width = image.shape
        cut = [0, round(0.6 * width), round(0.8 * width), width]
        if piece > min(height, cut[1], cut[2] - cut[1], cut[3] - cut[2]):
            raise UserError(f"data.piece={piece}: the picture has {width}x{height} pixels, a fifth of whose width is set aside: take less")
        self.parts = dict(zip(("train", "val", "test"), (image[:, :, a:b] for a, b in pairwise(cut)), strict=True))
        self.piece = piece
        self.pieces = {"train": pieces, **{side: len(self._tiles(side)) for side in ("val", "test")}}
        self.spec = DataSpec((channels, piece, piece), (), (), dataset.channels)
        digest = hashlib.sha256((image * (levels - 1)).round().to(torch.uint8).numpy().tobytes() + f"{cut}{piece}".encode())
        self.split_manifest = {
            "hash": digest.hexdigest(),
            "sizes": self.pieces,
            "dataset": dataset.name,
            "kind": "columns",
            "index": index,
            "columns": cut,
        }

    def quantised(self, side: str) -> Tensor:
        """Pieces of a side, int64 (N, C, piece, piece) of 0 to levels - 1: of train evenly spread, of the others side by side."""
        numbers = self._spread(side) if side == "train" else self._tiles(side)
        images = _Pieces(self.parts[side], self.piece)[numbers].images
        return torch.round(images * (self.levels - 1)).long()

    def train_dataloader(self) -> DataLoader[Any]:
        pieces = _Pieces(self.parts["train"], self.piece)
        sampler = _Some(range(len(pieces)), batch_size=self.batch_size, train=True, seed=self.seed, most=self.pieces["train"])
        return _loader(pieces, sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._fixed("val")

    def test_dataloader(self) -> DataLoader[Any]:
        return self._fixed("test")

    def _fixed(self, side: str) -> DataLoader[Any]:
        sampler = EpochSampler(self._tiles(side), batch_size=self.eval_batch_size, train=False)
        return _loader(_Pieces(self.parts[side], self.piece), sampler)

    def _spread(self, side: str) -> Tensor:
        """Numbers of pieces, evenly spread over all there are."""
        whole = len(_Pieces(self.parts[side], self.piece))
        return torch.linspace(0, whole - 1, min(whole, self.pieces[side])).round().long()

    def _tiles(self, side: str) -> Tensor:
        """Numbers of the pieces that lie side by side."""
        _, height, width = self.parts[side].shape
        rows, columns = (torch.arange(0, length - self.piece + 1, self.piece) for length in (height, width))
        return (rows[:, None] * (width - self.piece + 1) + columns).flatten()


class _Pieces(Dataset[Any]):
    """Square pieces of a picture by the number of their corner, row after row."""

    def __init__(self, part: Tensor, side: int) -> None:
        self.part = part
        self.side = side
        self.columns = part.shape[2] - side + 1

    def __getitem__(self, index: Tensor) -> UnlabelledBatch:
        along = torch.arange(self.side)
        rows = (index // self.columns)[:, None, None] + along[:, None]
        columns = (index % self.columns)[:, None, None] + along
        return UnlabelledBatch(self.part[:, rows, columns].transpose(0, 1).contiguous(), torch.zeros_like(index), index)

    def __len__(self) -> int:
        return (self.part.shape[1] - self.side + 1) * self.columns


class _Some(EpochSampler):
    """So many of the items in an epoch, others in the next."""

    def __init__(self, *args: Any, most: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.most = most

    def __len__(self) -> int:
        return max(1, min(super().__len__(), self.most // self.batch_size))


def _loader(pieces: _Pieces, sampler: EpochSampler) -> DataLoader[Any]:
    # A generator of its own: making an iterator must not move the global stream.
    return DataLoader(pieces, sampler=sampler, batch_size=None, generator=torch.Generator().manual_seed(0), collate_fn=_as_it_is)  # type: ignore[arg-type]


def _as_it_is(batch: UnlabelledBatch) -> UnlabelledBatch:
    return batch

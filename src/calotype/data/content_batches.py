"""Crops of many pictures, and the pictures whose style a network is to learn to paint."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from calotype.data.content_style import SMALLEST, colour, read_styles
from calotype.data.repeated import Repeated
from calotype.data.sampler import EpochSampler
from calotype.data.single_image import image_at
from calotype.ranges import AtLeast0, AtLeast1, Positive, Seed
from calotype.types import ContentStyleBatch, DataSpec, Source, UserError


class ContentBatches(LightningDataModule):
    """Batches of random crops, mirrored by chance, of a data set's images; a test on one whole image that no crop is taken from.

    Args:
        dataset: a source, of two images at least.
        style: see `ContentStyle`.
        style_weights: of each style, all alike by default.
        size: side of the crops in pixels; smaller images are enlarged to it.
        zoom: an image's shorter side is first brought to `size` times a number between 1 and this, by chance.
        style_size: longer side of the styles in pixels.
        test_index: which image of the source is kept for the test; negative counts from the end.
        test_size: longer side of it in pixels.
        batch_size: crops of a step.
        steps_per_epoch: steps of an epoch.
        seed: of the crops.
    """

    batch = ContentStyleBatch

    def __init__(
        self,
        *,
        dataset: Source,
        style: str | Sequence[str] = "tissue",
        style_weights: Sequence[AtLeast0] | None = None,
        size: Positive = 128,
        zoom: AtLeast1 = 2.0,
        style_size: Positive = 256,
        test_index: int = -1,
        test_size: Positive = 512,
        batch_size: Positive = 4,
        steps_per_epoch: Positive = 50,
        seed: Seed = 0,
    ) -> None:
        super().__init__()
        if size < SMALLEST or zoom < 1 or batch_size < 1:
            raise UserError(f"data: size={size}: {SMALLEST} and more; zoom={zoom}: 1 and more; batch_size={batch_size}: 1 and more")
        if len(dataset) < 2 or not -len(dataset) <= test_index < len(dataset):
            raise UserError(f"data.test_index={test_index}: {dataset.name} has {len(dataset)} images; two are needed, to learn and to test")
        names = [style] if isinstance(style, str) else list(style)
        weights = torch.tensor([1.0] * len(names) if style_weights is None else list(style_weights))
        if len(weights) != len(names) or weights.min() < 0 or weights.sum() == 0:
            raise UserError(f"data.style_weights={weights.tolist()}: one for each of {len(names)} styles, 0 and more, and not all 0")
        self.styles = read_styles(names, style_size)
        self.weights = weights / weights.sum()
        kept = test_index % len(dataset)
        self.images = _Images(dataset, [i for i in range(len(dataset)) if i != kept], size, zoom)
        test = image_at(dataset, kept)
        scale = test_size / max(test.shape[-2:])
        sides = [max(SMALLEST, round(side * scale)) for side in test.shape[-2:]]
        test = F.interpolate(colour(test, dataset.item_name(kept)), sides, mode="bicubic", antialias=True).clamp(0, 1)
        self.test = ContentStyleBatch(test, self.styles, self.weights)
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed
        self.spec = DataSpec((3, size, size), (), (), 3)
        named = [dataset.item_name(i) for i in range(len(dataset))]
        manifest = {"train": [named[i] for i in self.images.indices], "val": [], "test": [named[kept]]}
        digest = hashlib.sha256(repr(manifest).encode() + b"".join(x.numpy().tobytes() for x in self.styles)).hexdigest()
        sizes = {side: len(items) for side, items in manifest.items()}
        self.split_manifest = {"sizes": sizes, "dataset": dataset.name, **manifest, "hash": digest}

    def train_dataloader(self) -> DataLoader[Any]:
        count = self.batch_size * self.steps_per_epoch
        numbers = torch.arange(len(self.images)).repeat(-(-count // len(self.images)))[:count]
        drawn = EpochSampler(numbers, batch_size=self.batch_size, train=True, seed=self.seed)
        generator = torch.Generator().manual_seed(0)  # its own: none is drawn from the crops'
        return DataLoader(self.images, batch_size=None, sampler=drawn, collate_fn=self._batch, generator=generator)

    def test_dataloader(self) -> DataLoader[Any]:
        return Repeated.loader(self.test, 1)

    def _batch(self, crops: Any) -> ContentStyleBatch:
        return ContentStyleBatch(crops, self.styles, self.weights)


class _Images(Dataset[Tensor]):
    """Asked for several numbers, a crop of each image, (N, 3, size, size)."""

    def __init__(self, dataset: Source, indices: Sequence[int], size: int, zoom: float) -> None:
        self.dataset = dataset
        self.indices = indices
        self.size = size
        self.zoom = zoom

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, numbers: Tensor) -> Tensor:
        return torch.stack([self._crop(int(number)) for number in numbers])

    def _crop(self, index: int) -> Tensor:
        image = image_at(self.dataset, self.indices[index]).expand(-1, 3, -1, -1)
        scale = self.size * (1 + (self.zoom - 1) * torch.rand(()).item()) / min(image.shape[-2:])
        sides = [max(self.size, round(side * scale)) for side in image.shape[-2:]]
        image = F.interpolate(image, sides, mode="bilinear", antialias=True, align_corners=False)[0]
        top, left = (int(torch.randint(side - self.size + 1, ())) for side in sides)
        crop = image[:, top : top + self.size, left : left + self.size]
        return crop.flip(2) if torch.rand(()) < 0.5 else crop

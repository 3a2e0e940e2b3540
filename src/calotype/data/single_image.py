"""One image for a network that is fitted to it alone: degraded by us, to measure, or by life, to restore."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from calotype.console import echo
from calotype.data.repeated import Repeated
from calotype.data.tiles import tile_corners
from calotype.datasets.image_file import read_deep
from calotype.ranges import AtLeast0, Count, Positive, Seed
from calotype.types import DataSpec, SingleImageBatch, Source, UserError

SMALLEST = 16  # pixels a side


class SingleImage(LightningDataModule):
    """Gives the same image again and again; an epoch is so many iterations.

    A clean image is cropped to a multiple of `crop_to`, passed through `operator`, and noise is added; an image that is degraded already is
    taken as it stands. Then `mask` says which pixels were observed.

    Args:
        dataset: a source; of several images the one at `index`.
        operator: how the clean image became the observed one.
        mask: called with (height, width) of the observed image: bool (h, w), True where a pixel is known; None: everywhere.
        sigma: standard deviation of the noise that is added to a clean image, of 255.
        index: which image of the source.
        crop_to: a clean image's sides are cropped to a multiple of it, from the top left.
        shrink: average squares of so many pixels a side of a clean image before anything else.
        max_pixels: larger images are restored in tiles of so many pixels.
        overlap: pixels that tiles share.
        iterations_per_epoch: iterations between two lines of progress, and two checkpoints.
        seed: of the noise.
    """

    batch = SingleImageBatch
    takes_one: ClassVar = True  # image

    def __init__(
        self,
        *,
        dataset: Source,
        operator: nn.Module,
        mask: Callable[[int, int], Tensor] | None = None,
        sigma: AtLeast0 = 0.0,
        index: int = 0,
        crop_to: Positive = 32,
        shrink: Positive = 1,
        max_pixels: Positive = 512 * 512,
        overlap: Count = 32,
        iterations_per_epoch: Positive = 50,
        seed: Seed = 0,
    ) -> None:
        super().__init__()
        if sigma < 0:
            raise UserError(f"data.sigma={sigma}: of 255, 0 and more")
        if not 0 <= index < len(dataset):
            raise UserError(f"data.index={index}: {dataset.name} has {len(dataset)} images, from 0")
        self.factor = int(operator.factor)  # type: ignore[arg-type]
        grid = int(operator.grid)  # type: ignore[arg-type]
        image = image_at(dataset, index)
        if shrink < 1 or (shrink > 1 and min(image.shape[-2:]) < shrink * SMALLEST):
            raise UserError(f"data.shrink={shrink}: pixels, 1 and more, and {SMALLEST} a side must be left of {dataset.name}")
        if dataset.degraded:
            observed, clean = image, dataset.clean
        else:
            whole = F.avg_pool2d(image, shrink)
            clean = _cropped(whole, max(crop_to, self.factor))
            if clean.shape != whole.shape:
                sizes = [f"{x.shape[3]}x{x.shape[2]}" for x in (whole, clean)]
                echo(f"{dataset.name}: {sizes[0]} pixels, of which the top left {sizes[1]} are used (data.crop_to={crop_to})")
            with torch.no_grad():
                observed = _noisy(operator(clean).clamp(0, 1), sigma, seed)
        _check(dataset.name, observed, clean, self.factor)
        height, width = observed.shape[-2:]
        known = torch.ones(height, width, dtype=torch.bool) if mask is None else mask(height, width)
        if known.all() != (mask is None) or not known.any():
            raise UserError(f"data.mask: {'no hole' if known.all() else 'nothing but holes'} in the mask; white is known, black a hole")
        self.sigma = None if dataset.degraded else sigma  # None: not known
        self.overlap = overlap
        self.iterations_per_epoch = iterations_per_epoch
        channels, height, width = observed.shape[1], height * self.factor, width * self.factor
        tile_height, tile_width, corners = tile_corners(height, width, max_pixels=max_pixels, overlap=overlap, grid=grid)
        given = clean if clean is not None else torch.zeros(0, channels, height, width)
        weights = known[None, None].float()
        self.image = SingleImageBatch(observed * weights, weights, given, corners)
        self.spec = DataSpec((channels, tile_height, tile_width), (), (), channels)
        digest = hashlib.sha256(observed.numpy().tobytes() + known.numpy().tobytes()).hexdigest()
        self.split_manifest = {"sizes": {"train": 1, "val": 0, "test": 1}, "dataset": dataset.name, "hash": digest}

    def train_dataloader(self) -> DataLoader[Any]:
        return Repeated.loader(self.image, self.iterations_per_epoch)

    def test_dataloader(self) -> DataLoader[Any]:
        return Repeated.loader(self.image, 1)


def image_at(dataset: Source, index: int) -> Tensor:
    """(1, C, H, W) float32 in [0, 1]."""
    item = dataset.items[index]
    if not isinstance(item, Tensor):
        return read_deep(item)[None]
    if item.ndim != 3:
        raise UserError(f"dataset {dataset.name} has points, not images; choose one with images")
    return item[None].float() / 255 if item.dtype == torch.uint8 else item[None]


def _cropped(image: Tensor, multiple: int) -> Tensor:
    """To a multiple of `multiple`, unless nothing would be left."""
    height, width = (side // multiple * multiple or side for side in image.shape[-2:])
    return image[..., :height, :width]


def _noisy(image: Tensor, sigma: float, seed: int) -> Tensor:
    """Gaussian noise of standard deviation sigma / 255, drawn by NumPy pixel by pixel, the colours of one together; cut to [0, 1]."""
    if not sigma:
        return image
    pixels = image[0].permute(1, 2, 0).double().numpy()
    noise = np.random.default_rng(seed).normal(0, sigma / 255, pixels.shape)
    return torch.from_numpy((pixels + noise).clip(0, 1)).float().permute(2, 0, 1)[None].contiguous()


def _check(name: str, observed: Tensor, clean: Tensor | None, factor: int) -> None:
    height, width = observed.shape[-2:]
    if min(height, width) * factor < SMALLEST:
        raise UserError(f"{name}: {width}x{height} pixels, and {SMALLEST} a side are the least that can be restored")
    if not observed.isfinite().all():
        raise UserError(f"{name}: has pixels that are not numbers (NaN or infinite); repair the image")
    if clean is not None and clean.shape[1:] != (observed.shape[1], height * factor, width * factor):
        want = f"{observed.shape[1]} channels and {width * factor}x{height * factor} pixels"
        raise UserError(f"dataset.clean: {clean.shape[1]} channels and {clean.shape[3]}x{clean.shape[2]} pixels, {want} are needed")

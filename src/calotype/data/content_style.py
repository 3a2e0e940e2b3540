"""A picture to be repainted, and the pictures whose style it is to take."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from calotype.console import echo
from calotype.data.repeated import Repeated
from calotype.data.single_image import image_at
from calotype.datasets.image_file import has_transparency, read_deep, read_image
from calotype.ranges import Above0, AtLeast0, Positive
from calotype.types import ContentStyleBatch, DataSpec, Source, UserError

EXAMPLES = {"hubble": "hubble_deep_field", "tissue": "immunohistochemistry", "gravel": "gravel", "brick": "brick", "grass": "grass"}
SMALLEST = 32  # pixels a side, half of what the deepest layers of a VGG see as one


class ContentStyle(LightningDataModule):
    """Gives the same content and styles again and again; an epoch is so many steps.

    Args:
        dataset: a source; of several images the content is the one at `index`.
        style: image files, or examples that come with scikit-image (hubble, tissue, gravel, brick, grass); one or several.
        style_weights: of each style, all alike by default; only their ratios count.
        size: longer side of the content in pixels; null leaves it as it is.
        square: cut the middle square out of the content first.
        style_scale: longer side of the styles, as a share of the content's: smaller makes smaller strokes.
        content_masks: image files, one for each style: where (white) the result takes that style; the same shape as the content.
        style_masks: image files, one for each style: which part (white) of the style counts.
        index: which image of the source is the content.
        steps_per_epoch: steps between two lines of progress, and two checkpoints.
    """

    batch = ContentStyleBatch
    takes_one: ClassVar = True  # image

    def __init__(
        self,
        *,
        dataset: Source,
        style: str | Sequence[str] = "tissue",
        style_weights: Sequence[AtLeast0] | None = None,
        size: Positive | None = 512,
        square: bool = False,
        style_scale: Above0 = 1.0,
        content_masks: Sequence[str] | None = None,
        style_masks: Sequence[str] | None = None,
        index: int = 0,
        steps_per_epoch: Positive = 50,
    ) -> None:
        super().__init__()
        if not 0 <= index < len(dataset):
            raise UserError(f"data.index={index}: {dataset.name} has {len(dataset)} images, from 0")
        names = [style] if isinstance(style, str) else list(style)
        for key, values in (("style_weights", style_weights), ("content_masks", content_masks), ("style_masks", style_masks)):
            if values is not None and len(values) != len(names):
                raise UserError(f"data.{key}: {len(values)} given, and there are {len(names)} styles")
        if style_scale <= 0:
            raise UserError(f"data.style_scale={style_scale}: a share of the content's size, above 0")
        content = colour(image_at(dataset, index), dataset.name)
        content = _sized(_square(content) if square else content, size)
        longer = max(content.shape[-2:])
        if min(content.shape[-2:]) < SMALLEST:
            raise UserError(f"{dataset.name}: {content.shape[3]}x{content.shape[2]} pixels, and {SMALLEST} a side are the least")
        styles = read_styles(names, round(style_scale * longer))
        weights = torch.tensor([1.0] * len(names) if style_weights is None else list(style_weights))
        if weights.min() < 0 or weights.sum() == 0:
            raise UserError(f"data.style_weights={weights.tolist()}: 0 and more, and not all 0")
        inside = tuple(_mask(path, content, "data.content_masks", square) for path in content_masks or ())
        parts = tuple(_mask(path, image, "data.style_masks") for path, image in zip(style_masks or (), styles, strict=False))
        self.image = ContentStyleBatch(content, styles, weights / weights.sum(), inside, parts)
        self.steps_per_epoch = steps_per_epoch
        self.spec = DataSpec(tuple(content.shape[1:]), (), (), 3)  # type: ignore[arg-type]
        digest = hashlib.sha256(b"".join(x.numpy().tobytes() for x in (content, *styles, *inside, *parts))).hexdigest()
        self.split_manifest = {"sizes": {"train": 1, "val": 0, "test": 1}, "dataset": dataset.name, "hash": digest}

    def train_dataloader(self) -> DataLoader[Any]:
        return Repeated.loader(self.image, self.steps_per_epoch)

    def test_dataloader(self) -> DataLoader[Any]:
        return Repeated.loader(self.image, 1)


def read_styles(names: Sequence[str], longer: int) -> tuple[Tensor, ...]:
    """Pictures (1, 3, h, w) in [0, 1] whose longer side has so many pixels, enlarged where they are smaller.

    Raises:
        UserError: no names, a side of less than 32 pixels, or a file that is no image.
    """
    if not names:
        raise UserError("data.style: no picture; give one as data.style=FILE")
    styles = []
    for name in names:
        image = _sized(colour(_style(name), name), longer)
        if min(image.shape[-2:]) < SMALLEST:
            raise UserError(
                f"{name}: {image.shape[3]}x{image.shape[2]} pixels at this data.style_scale, and {SMALLEST} a side are the least"
            )
        styles.append(image)
    return tuple(styles)


def colour(image: Tensor, name: str) -> Tensor:
    if image.shape[1] == 1:
        echo(f"{name}: grey, taken as a colour image of equal channels")
    return image.expand(-1, 3, -1, -1).contiguous()


def _style(name: str) -> Tensor:
    if name in EXAMPLES:
        import skimage.data

        pixels = torch.from_numpy(getattr(skimage.data, EXAMPLES[name])()).float() / 255
        return (pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1))[None]
    if not os.path.exists(name):  # pathlib's raises where the name is too long
        raise UserError(f"data.style={name}: no such file; those that come with the packages are {', '.join(EXAMPLES)}")
    if has_transparency(Path(name)):
        echo(f"{name}: transparent pixels are laid on white")
    return read_deep(Path(name))[None]


def _square(image: Tensor) -> Tensor:
    side = min(image.shape[-2:])
    top, left = ((length - side) // 2 for length in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


def _sized(image: Tensor, longer: int | None) -> Tensor:
    if longer is None:
        return image.contiguous()
    scale = longer / max(image.shape[-2:])
    size = [max(1, round(side * scale)) for side in image.shape[-2:]]
    return F.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def _mask(path: str, image: Tensor, key: str, square: bool = False) -> Tensor:
    """(1, 1, H, W) in [0, 1] at the size of the image."""
    mask = read_image(Path(path), 1)[None].float() / 255
    mask = _square(mask) if square else mask
    height, width = image.shape[-2:]
    if abs(mask.shape[3] * height - mask.shape[2] * width) > 0.02 * mask.shape[3] * height:
        raise UserError(f"{key}: {path} is {mask.shape[3]}x{mask.shape[2]} pixels, another shape than the picture's {width}x{height}")
    if mask.max() == 0:
        raise UserError(f"{key}: {path} is black everywhere; white is what counts")
    return F.interpolate(mask, (height, width), mode="bilinear", antialias=True, align_corners=False)

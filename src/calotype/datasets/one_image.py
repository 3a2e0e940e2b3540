"""One image: somebody's own, to be restored, or a clean one that is degraded to see what a method is worth."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from calotype.console import echo
from calotype.datasets.image_file import has_transparency, read_deep
from calotype.types import Source, holding

EXAMPLES = ("astronaut", "camera", "chelsea", "coffee", "brick", "rocket")


@holding(labels=False, one=True)
def one_image(*, path: str | None = None, clean: str | None = None) -> Source:
    """The image in `path` as it was observed, with `clean` as its original where that is known; without `path`, `clean` to degrade.

    Args:
        path: an image file, to be restored as it stands.
        clean: an image file, or the name of a photograph that comes with scikit-image (astronaut, camera, chelsea, coffee, brick, rocket);
            astronaut where there is no `path` either.
    """
    if path is None:
        items = _read(clean or EXAMPLES[0])
        return Source(name=Path(clean or EXAMPLES[0]).stem, items=items, channels=items.shape[1])
    items = _read(path)
    original = None if clean is None else _read(clean)
    return Source(name=Path(path).stem, items=items, channels=items.shape[1], degraded=True, clean=original)


def _read(name: str) -> Tensor:
    """(1, C, H, W) float32 in [0, 1]."""
    if name not in EXAMPLES:
        if has_transparency(Path(name)):
            echo(f"{name}: transparent pixels are laid on white")
        return read_deep(Path(name))[None]
    import skimage.data

    pixels = torch.from_numpy(getattr(skimage.data, name)()).float() / 255
    return pixels[None, None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)[None]

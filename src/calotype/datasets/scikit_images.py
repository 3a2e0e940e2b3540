"""Photographs and textures that come with scikit-image, cut into patches: real pictures without a download."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from calotype.datasets.image_folder import images_in
from calotype.places import expanded
from calotype.ranges import Positive
from calotype.types import Source, UserError, holding

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
TEXTURES = ("brick", "grass", "gravel")


@holding()
def photos(*, patch: Positive = 64, stride: Positive = 64) -> Source:
    """Colour patches of four photographs; the label is the photograph. `patch` and `stride` in pixels.

    With `stride` below `patch` they overlap, and a random split puts shared pixels on two sides: leave it for training
    a generative model.
    """
    return _patches("photos", PHOTOS, patch, stride)


@holding()
def textures(*, patch: Positive = 64, stride: Positive = 64) -> Source:
    """Grey patches of brick, grass and gravel (512x512); the label is the texture. `patch` and `stride` as in `photos`."""
    return _patches("textures", TEXTURES, patch, stride)


@holding(labels=False)
def whole_photos(*, folder: str | None = None) -> Source:
    """The same four photographs whole, each of its own size, without labels; and the images of a folder, where one is given.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    import skimage.data

    home = Path(skimage.data.__file__).parent
    files = [next(home.glob(f"{name}.*g")) for name in PHOTOS]
    note = ""
    if folder is not None:
        home = expanded(folder)
        more, note = images_in(home) if os.path.isdir(home) else ([], "no such folder")
        if not more:
            raise UserError(f"dataset.folder={folder}: no images in it{f' ({note})' if note else ''}")
        files += more
    return Source(name="whole_photos", items=files, channels=3, notes=(note,) if note else ())


def _patches(name: str, pictures: tuple[str, ...], patch: int, stride: int) -> Source:
    import skimage.data

    views = []
    for picture in pictures:
        pixels = torch.from_numpy(getattr(skimage.data, picture)())
        image = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)  # (C, H, W)
        if patch < 1 or stride < 1 or patch > min(image.shape[1:]):
            limit = min(image.shape[1:])
            raise UserError(f"dataset.patch={patch}, dataset.stride={stride}: {picture} takes 1 to {limit}, and a stride from 1")
        cut = image.unfold(1, patch, stride).unfold(2, patch, stride)  # (C, rows, columns, patch, patch)
        views.append(cut.permute(1, 2, 0, 3, 4))
    counts = [view.shape[0] * view.shape[1] for view in views]
    items = torch.empty(sum(counts), *views[0].shape[2:], dtype=torch.uint8)
    for view, part in zip(views, items.split(counts), strict=True):
        part.view(view.shape).copy_(view)  # the patches exist once: overlapping ones are many times the photographs
    labels = torch.arange(len(pictures)).repeat_interleave(torch.tensor(counts))
    return Source(name=name, items=items, channels=items.shape[1], labels=labels, class_names=pictures)

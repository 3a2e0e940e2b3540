"""A folder of images, one sub-folder a class or identity: anybody's own pictures, and what ORL and LFW come as."""

from __future__ import annotations

from pathlib import Path

import torch

from calotype.datasets.image_file import is_image_file
from calotype.ranges import Positive
from calotype.types import Source, UserError


def image_folder(root: str, *, name: str = "", channels: Positive = 3, min_images: Positive = 1) -> Source:
    """Images below `root`.

    With sub-folders, each is a class (or identity) named by its path below `root` and holds that class's images, at
    any depth of folders (`alphabet/character`). Without sub-folders the images have no labels. Hidden files and files that are
    no images by their suffix are passed over.

    Args:
        root: the folder.
        name: shown in figures; the folder's name by default.
        channels: 3 reads colour, 1 reads grey.
        min_images: classes with fewer are left out.

    Raises:
        UserError: there is no such folder, a class folder is empty, or nothing is left.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise UserError(f"dataset.root={root}: no such folder; give the folder that holds one sub-folder for each class")
    if channels not in (1, 3):
        raise UserError(f"dataset.channels={channels}: 1 (grey) or 3 (colour)")
    classes = {}
    for sub in sorted(p for p in folder.rglob("*") if p.is_dir() and not _hidden(p, folder)):
        files = sorted(p for p in sub.iterdir() if p.is_file() and is_image_file(p))
        if files:
            classes[sub.relative_to(folder).as_posix()] = files
        elif not any(p.is_dir() for p in sub.iterdir()):
            raise UserError(f"{sub}: the class has no images; add some or remove the folder")
    loose = sorted(p for p in folder.iterdir() if p.is_file() and is_image_file(p))
    name = name or folder.resolve().name
    if not classes:
        if not loose:
            raise UserError(f"dataset.root={root}: no images in it; give the folder that holds one sub-folder for each class")
        return Source(name=name, items=loose, channels=channels, root=folder)
    if loose:
        raise UserError(f"{loose[0]}: an image beside the class folders; move it into one of them")
    kept = {label: files for label, files in classes.items() if len(files) >= min_images}
    if not kept:
        raise UserError(f"dataset.min_images={min_images}: no class of {root} has so many images")
    labels = [i for i, files in enumerate(kept.values()) for _ in files]
    return Source(
        name=name,
        items=[path for files in kept.values() for path in files],
        channels=channels,
        labels=torch.tensor(labels),
        class_names=tuple(kept),
        root=folder,
    )


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)

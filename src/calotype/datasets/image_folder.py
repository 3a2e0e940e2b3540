"""A folder of images, one sub-folder a class or identity: anybody's own pictures, and what ORL and LFW come as."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch

from calotype.console import complain
from calotype.datasets.image_file import is_image_file
from calotype.images import EXTRAS, SUFFIXES
from calotype.places import expanded
from calotype.ranges import Positive
from calotype.types import Source, UserError

# Names of the folders of a split that the folder brings along, and the side that each is.
SIDES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
# Folders that systems and programs leave everywhere: archives of macOS, thumbnails of Synology, bins and disks of Windows and Linux.
OF_SYSTEMS = frozenset({"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__"})
NAMED = 4  # kinds of files that are passed over, named one by one


def image_folder(root: str, *, name: str = "", channels: Positive = 3, min_images: Positive = 1, output_dir: str | None = None) -> Source:
    """Return the images below `root`.

    With sub-folders, each is a class (or identity) named by its path below `root` and holds that class's images, at
    any depth of folders (`alphabet/character`). Without sub-folders the images have no labels. Where the only
    sub-folders are `train` and `test` or `val` (`valid`, `validation`), they are the split, and classes lie inside
    them. Links to folders are followed, each folder once. Hidden files, files that are no images by their suffix,
    folders of systems (`__MACOSX`), run folders and `output_dir` are passed over, which `Source.notes` tells but for
    the hidden ones. Classes whose names differ in case alone are two, which is printed.

    Args:
        root: the folder.
        name: shown in figures; the folder's name by default.
        channels: 3 reads colour, 1 reads grey.
        min_images: classes with fewer are left out.
        output_dir: where runs are kept, which may lie below `root`.

    Raises:
        UserError: there is no such folder, a class folder is empty, or nothing is left.
    """
    folder = expanded(root)
    if not os.path.isdir(folder):  # pathlib's raises where the name is too long
        raise UserError(f"dataset.root={root}: no such folder; give the folder that holds one sub-folder for each class")
    if channels not in (1, 3):
        raise UserError(f"dataset.channels={channels}: 1 (grey) or 3 (colour)")
    tree = _Tree(folder, output_dir)
    sides = _sides(tree)
    classes = _classes(tree, sides)
    if not classes:
        notes = f" ({', '.join(tree.notes())})" if tree.passed_over else ""
        raise UserError(f"dataset.root={root}: no images in it{notes}; give the folder that holds one sub-folder for each class")

    kept = {label: files for label, files in classes.items() if len(files) >= min_images}
    if not kept:
        raise UserError(f"dataset.min_images={min_images}: no class of {root} has so many images")
    _tell_of_case(root, kept)
    items = [path for files in kept.values() for path in files]
    of_side = {side: torch.tensor([path.relative_to(folder).parts[0] == top for path in items]) for top, side in sides.items()}
    has_labels = list(kept) != [""]
    return Source(
        name=name or folder.resolve().name,
        items=items,
        channels=channels,
        labels=torch.tensor([i for i, files in enumerate(kept.values()) for _ in files]) if has_labels else None,
        class_names=tuple(kept) if has_labels else (),
        root=folder,
        test=of_side.get("test"),
        val=of_side.get("val"),
        split_folders=tuple(sides),
        notes=tree.notes(),
    )


class _Tree:
    """The image files of a folder by the folder that they lie in, and what was passed over.

    Attributes:
        files: folder -> its images in order, in order; also of folders without any.
        passed_over: kind -> how many.
    """

    def __init__(self, root: Path, output_dir: str | None = None) -> None:
        self.root = root
        self.output_dir = None if output_dir is None else Path(output_dir).resolve()
        self.passed_over: Counter[str] = Counter()
        self.children: dict[Path, list[Path]] = {}
        self._seen: set[tuple[int, int]] = set()
        found: dict[Path, list[Path]] = {}

        # Folders that lie here come before links to them, so that each is read once, under its own name.
        folders, links = [root], list[Path]()
        while folders or links:
            folder = folders.pop(0) if folders else links.pop(0)
            if not self._is_new(folder):
                continue
            found[folder], below = self._images_and_folders(folder)
            self.children[folder] = below
            folders += [path for path in below if not path.is_symlink()]
            links += [path for path in below if path.is_symlink()]
        self.files = {folder: found[folder] for folder in sorted(found)}

    def notes(self) -> tuple[str, ...]:
        """Return what was passed over, the most frequent first."""
        common = self.passed_over.most_common()
        told = [f"{count} {kind}" for kind, count in common[:NAMED]]
        rest = sum(count for _, count in common[NAMED:])
        return (*told, *([f"{rest} others"] if rest else []))

    def _is_new(self, folder: Path) -> bool:
        status = os.stat(folder)
        is_new = (status.st_dev, status.st_ino) not in self._seen
        self._seen.add((status.st_dev, status.st_ino))
        if is_new and folder != self.root and folder.is_symlink() and self.root.resolve().is_relative_to(folder.resolve()):
            is_new = False  # it leads back to what holds the root
        if not is_new:
            self.passed_over["link to a folder that is read already"] += 1
        return is_new

    def _images_and_folders(self, folder: Path) -> tuple[list[Path], list[Path]]:
        images, folders = [], []
        try:
            entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        except OSError as error:
            raise UserError(f"{folder}: {error.strerror}") from None
        for path in entries:
            if path.is_dir():
                if reason := self._reason_to_leave(path):
                    self.passed_over[reason] += 1
                else:
                    folders.append(path)
            elif path.is_file() and is_image_file(path):
                images.append(path)
            else:
                self.passed_over[kind_of(path)] += 1
        return images, folders

    def _reason_to_leave(self, folder: Path) -> str:
        if is_of_a_system(folder):
            return f"folder {folder.name}"
        if (folder / "run.json").is_file():
            return "run folder"
        return "folder of runs" if self.output_dir is not None and folder.resolve() == self.output_dir else ""


def is_of_a_system(folder: Path) -> bool:
    """Return whether a folder of this name holds nothing of its owner's."""
    return folder.name.lower() in OF_SYSTEMS


def kind_of(path: Path) -> str:
    """Return what a file is that is not read as an image: its suffix, and what its format would take."""
    if not path.is_file():
        return "broken link" if path.is_symlink() else "pipe or device"
    extra = EXTRAS.get(SUFFIXES.get(path.suffix.lower(), ""))
    return (path.suffix.lower() or "file without a suffix") + (f" ({extra})" if extra else "")


def images_in(folder: Path) -> tuple[list[Path], str]:
    """Return the image files of one folder in order, and a note on what was passed over, or nothing."""
    files = sorted(path for path in folder.iterdir() if not path.is_dir() and not path.name.startswith("."))
    images = [path for path in files if path.is_file() and is_image_file(path)]
    others = Counter(kind_of(path) for path in files if path not in set(images))
    return images, ", ".join(f"{count} {kind}" for kind, count in others.most_common(NAMED))


def _sides(tree: _Tree) -> dict[str, str]:
    """Return sub-folder -> train, val or test, where these are the only ones and no image lies beside them; else nothing."""
    names = [path.name for path in tree.children[tree.root]]
    sides = {name: SIDES[name.lower()] for name in names if name.lower() in SIDES}
    is_split = len(sides) == len(names) > 1 and len(set(sides.values())) == len(names) and "train" in sides.values()
    order = ("train", "val", "test")
    return dict(sorted(sides.items(), key=lambda one: order.index(one[1]))) if is_split and not tree.files[tree.root] else {}


def _tell_of_case(root: str, names: Iterable[str]) -> None:
    """Print which classes a system that does not tell capitals from small letters would have as one: mostly they are."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            complain(f"dataset.root={root}: classes {other!r} and {name!r} differ in case alone, and are two")


def _classes(tree: _Tree, sides: Iterable[str]) -> dict[str, list[Path]]:
    """Return class -> its images; one class without a name where there are no folders of classes."""
    tops = [tree.root / side for side in sides] or [tree.root]
    found: dict[str, list[Path]] = {}
    loose: list[Path] = []
    for folder, files in tree.files.items():
        top = next((top for top in tops if folder.is_relative_to(top)), None)
        if top is None:
            continue  # what holds the sides
        if folder == top:
            loose += files
        elif files:
            found.setdefault(folder.relative_to(top).as_posix(), []).extend(files)
        elif not any(path.is_dir() and not is_of_a_system(path) for path in folder.iterdir()):
            _, note = images_in(folder)
            raise UserError(f"{folder}: the class has no images{f' ({note})' if note else ''}; add some or remove the folder")
    if found and loose:
        raise UserError(f"{loose[0]}: an image beside the class folders; move it into one of them")
    return {"": loose} if loose else dict(sorted(found.items(), key=lambda one: Path(one[0])))

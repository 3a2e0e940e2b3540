"""One line about the data of a run: how many images, of how many classes, on which sides, and what was passed over."""

from __future__ import annotations

from typing import Any

from calotype.types import Source


def summary(datamodule: Any) -> str:
    """Return the line, or nothing where there is no data set: `pets: 120 images of 3 classes (train 84, val 12, test 24)`."""
    source = getattr(datamodule, "dataset", None)
    if not isinstance(source, Source):
        return ""
    is_points = not isinstance(source.items, list | tuple) and getattr(source.items, "ndim", 4) == 2
    what = "points" if is_points else "images"
    classes = f" of {len(source.class_names)} classes" if source.labels is not None and len(source.class_names) > 1 else ""

    # Sizes of sides that are no images of the data set (pieces of one picture) would mislead.
    manifest = getattr(datamodule, "split_manifest", {})
    sides = ", ".join(f"{side} {size}" for side, size in manifest["sizes"].items()) if "train" in manifest else ""
    by_folders = "; split by its folders" if source.split_folders else ""
    notes = f"; passed over: {', '.join(source.notes)}" if source.notes else ""
    return f"{source.name}: {len(source)} {what}{classes}{f' ({sides}{by_folders})' if sides else ''}{notes}"

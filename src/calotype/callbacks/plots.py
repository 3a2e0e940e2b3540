"""Pictures a person would look at, as PNG files written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from calotype.whole_file import whole_file

DPI = 110


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI, facecolor="white", bbox_inches="tight")


def image_grid(
    images: Sequence[Tensor], captions: Sequence[str], *, title: str, colours: Sequence[str], columns: int = 8, width: float = 1.5
) -> Figure:
    """`images` uint8 (C, H, W) in rows, each `width` inches wide with its caption above in its colour."""
    rows = max(1, -(-len(images) // columns))
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    figure = Figure(figsize=(width * columns, (1.45 + 0.19 * lines) * rows + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, caption, colour in zip(axes.flat, images, captions, colours, strict=False):
        pixels = image.permute(1, 2, 0).cpu().numpy()
        axis.imshow(pixels[..., 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=255)
        axis.set_title(caption, fontsize=7.5, color=colour, pad=2)
    return figure


def confusion(counts: Tensor, class_names: Sequence[str], *, title: str = "") -> Figure:
    """Counts (K, K), row the truth; shaded by the share of the row, so that rare classes show."""
    table = counts.cpu().numpy()
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    k = len(class_names)
    side = min(14.0, 3.0 + 0.42 * k)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axis = figure.subplots()
    shown = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(shown, ax=axis, fraction=0.04, label="share of the true class")
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    if title:
        axis.set_title(title, fontsize=10)
    if k <= 60:
        names = [shorten(name) for name in class_names]
        axis.set_xticks(range(k), names, rotation=90, fontsize=8)
        axis.set_yticks(range(k), names, fontsize=8)
    if k <= 25:
        for row, column in zip(*np.nonzero(table), strict=True):
            dark = share[row, column] > 0.5
            axis.text(column, row, str(table[row, column]), ha="center", va="center", fontsize=7, color="white" if dark else "black")
    return figure


def curves(panels: dict[str, dict[str, tuple[list[float], list[float]]]], *, x_label: str) -> Figure:
    """One panel a key; in it one line for each name of (x, y)."""
    figure = Figure(figsize=(5.2 * max(1, len(panels)), 3.6), layout="constrained")
    axes = figure.subplots(1, max(1, len(panels)), squeeze=False)
    for axis, (title, lines) in zip(axes.flat, panels.items(), strict=False):
        for name, (x, y) in lines.items():
            axis.plot(x, y, label=name, linewidth=1.4, marker="o" if len(x) < 30 else None, markersize=3)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(x_label)
        axis.grid(alpha=0.3)
        if title == "loss" and all(v > 0 for _, y in lines.values() for v in y):
            axis.set_yscale("log")
        axis.legend(fontsize=8)
    return figure


def shorten(name: str, most: int = 18) -> str:
    shown = name.replace("_", " ")
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def strip(images: Sequence[Image.Image], captions: Sequence[str], title: str = "") -> Figure:
    """Four in a row, a pixel for a pixel where images are not large."""
    width, height = (max(image.size[axis] for image in images) for axis in (0, 1))
    scale = min(4.5, max(1.8, width / DPI)) / width
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(columns * scale * width, rows * (scale * height + 0.45) + (0.3 if title else 0)), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, image, caption in zip(axes, images, captions, strict=False):
        axis.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(caption, fontsize=8.5)
    return figure


def rows(images: dict[str, list[Image.Image]], captions: dict[str, list[str]], inches: float = 1.35) -> Figure:
    """Images in rows, each with its name at the left."""
    columns = max(map(len, images.values()))
    figure = Figure(figsize=((columns + 0.1) * inches, len(images) * (inches + 0.22)), layout="constrained")
    for line, (name, row) in zip(figure.subplots(len(images), columns, squeeze=False), images.items(), strict=True):
        for i, axis in enumerate(line):
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            if i < len(row):
                axis.imshow(np.asarray(row[i]), interpolation="nearest")
                axis.set_title(captions[name][i], fontsize=7, pad=2)
        line[0].set_ylabel(name, fontsize=8)
    return figure


def progress(folder: Path, unit: str) -> None:
    """Joins the pictures <step>.png of a folder to one, progress.png beside it."""
    steps = sorted(folder.glob("*.png"))
    if steps:
        images, captions = [Image.open(path).convert("RGB") for path in steps], [f"{unit} {int(path.stem)}" for path in steps]
        save(strip(images, captions, f"Output after so many {unit}s"), folder.with_name("progress.png"))


def save_image(image: Tensor, path: Path) -> None:
    """(1, C, H, W) in [0, 1], as a PNG of its own size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        to_image(image).save(partial, format="PNG")


def to_pixels(image: Tensor, kind: Any) -> Any:
    """(1, C, H, W) in [0, 1] -> (H, W) or (H, W, 3) of a whole-number kind."""
    most = np.iinfo(kind).max
    pixels = np.rint(image[0].float().cpu().nan_to_num().clamp(0, 1).permute(1, 2, 0).double().numpy() * most).astype(kind)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def to_image(image: Tensor) -> Image.Image:
    return Image.fromarray(to_pixels(image, np.uint8))

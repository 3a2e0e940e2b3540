"""Pictures a person would look at, as PNG files written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

from calotype.callbacks.words import cut, legend, readable, titled, words, written
from calotype.images import open_image
from calotype.whole_file import whole_file

DPI = 110
HIGHEST = 9.0  # inches of an image

Box = tuple[int, int, int, int]


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    readable(figure)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI, facecolor="white", bbox_inches="tight")


def image_grid(
    images: Sequence[Tensor], captions: Sequence[str], *, title: str, colours: Sequence[str], columns: int = 8, width: float = 1.5
) -> Figure:
    """`images` uint8 (C, H, W) in rows, each in a cell `width` inches wide and no higher, with its caption above in its colour."""
    pixels = [image.permute(1, 2, 0).cpu().numpy() for image in images]
    cells = [(image[..., 0] if image.shape[2] == 1 else image) for image in pixels]
    tallest = max((image.shape[0] / image.shape[1] for image in pixels), default=1.0)
    size = (width - 0.08, (width - 0.08) * min(1.0, max(0.1, tallest)))
    return _grid(cells, captions, columns=columns, size=size, gap=0.08, font=7.5, title=title, colours=colours)


def _grid(
    images: Sequence[Any],
    captions: Sequence[str],
    *,
    columns: int,
    size: tuple[float, float],
    gap: float,
    font: float,
    title: str,
    colours: Sequence[str] = (),
    interpolation: str | None = None,
    frame: Box | None = None,
) -> Figure:
    """Images in rows, each in a cell of `size` inches with its caption above; one pair of axes for all, which is drawn in a tenth of
    the time that one for each takes.
    """
    cell_width, cell_height = size
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    above = lines * font * 1.35 / 72 + 0.06  # inches of a caption
    top = 0.32 if title else 0.0
    columns = min(columns, len(images)) or 1
    rows = -(-len(images) // columns) or 1
    whole = (columns * (cell_width + gap) + gap, top + rows * (above + cell_height + gap) + gap)
    figure = Figure(figsize=whole)
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, whole[0]), ylim=(whole[1], 0))
    axis.axis("off")
    if title:
        written(axis, whole[0] / 2, 0.08, title, fontsize=11, ha="center", va="top")

    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = gap + i % columns * (cell_width + gap)
        up = top + i // columns * (above + cell_height + gap) + above
        inch = min(cell_width / image.shape[1], cell_height / image.shape[0])  # of a pixel
        width, height = image.shape[1] * inch, image.shape[0] * inch
        x, y = left + (cell_width - width) / 2, up + (cell_height - height) / 2
        axis.imshow(image, extent=(x, x + width, y + height, y), aspect="auto", cmap="gray", vmin=0, vmax=255, interpolation=interpolation)
        if frame is not None:
            corner, side = (x + frame[0] * inch, y + frame[1] * inch), (frame[2] * inch, frame[3] * inch)
            axis.add_patch(Rectangle(corner, *side, fill=False, edgecolor="#d55e00", linewidth=0.8))
        colour = colours[i] if colours else "black"
        written(axis, left + cell_width / 2, y - 0.04, caption, fontsize=font, color=colour, ha="center", va="bottom")
    axis.set(xlim=(0, whole[0]), ylim=(whole[1], 0))
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
        titled(axis, title, fontsize=10)
    if k <= 60:
        names, style = words(*(shorten(name) for name in class_names))
        axis.set_xticks(range(k), names, rotation=90, fontsize=8, **style)
        axis.set_yticks(range(k), names, fontsize=8, **style)
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
        titled(axis, title, fontsize=10)
        axis.set_xlabel(x_label)
        axis.grid(alpha=0.3)
        if title == "loss" and all(v > 0 for _, y in lines.values() for v in y):
            axis.set_yscale("log")
        legend(axis, lines, fontsize=8)
    return figure


def shorten(name: str, most: int = 18) -> str:
    """The name as it is written, or its beginning that takes no more room than `most` letters."""
    return cut(name, most)


def strip(images: Sequence[Image.Image], captions: Sequence[str], title: str = "", frame: Box | None = None) -> Figure:
    """Four in a row, a pixel for a pixel where images are not large; `frame` (left, top, width, height) in pixels is drawn in each.

    An image that is many times as high as it is wide is made smaller, so that it can be looked at.
    """
    width, height = (max(image.size[axis] for image in images) for axis in (0, 1))
    scale = min(4.5, max(1.8, width / DPI)) / width
    cells, size = [np.asarray(image) for image in images], (scale * width, min(HIGHEST, scale * height))
    return _grid(cells, captions, columns=4, size=size, gap=0.1, font=8.5, title=title, interpolation="nearest", frame=frame)


def rows(images: dict[str, list[Image.Image]], captions: dict[str, list[str]], inches: float = 1.35) -> Figure:
    """Images in rows, each with its name at the left."""
    columns = max(map(len, images.values()))
    blank = Image.new("RGB", (1, 1), "white")
    cells = [np.asarray(image) for row in images.values() for image in [*row, *[blank] * (columns - len(row))]]
    texts = [text for name, row in images.items() for text in [*captions[name], *[""] * (columns - len(row))]]
    gap, side = 0.06, inches - 0.06
    tallest = max(image.height / image.width for row in images.values() for image in row)
    size = (side, side * min(1, tallest))
    figure = _grid(cells, texts, columns=columns, size=size, gap=gap, font=7, title="", interpolation="nearest")
    (axis,) = figure.axes
    for i, name in enumerate(images):
        middle = (i + 0.5) * figure.get_figheight() / len(images)
        written(axis, -0.04, middle, name, fontsize=8, rotation=90, ha="right", va="center")
    return figure


def progress(folder: Path, unit: str) -> None:
    """Joins the pictures <step>.png of a folder to one, progress.png beside it."""
    steps = sorted(folder.glob("*.png"))
    if steps:
        images, captions = [opened(path) for path in steps], [f"{unit} {int(path.stem)}" for path in steps]
        save(strip(images, captions, f"Output after so many {unit}s"), folder.with_name("progress.png"))


def opened(path: Path) -> Image.Image:
    """A picture of the run's own, in RGB."""
    with open_image(path) as image:
        return image.convert("RGB")


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

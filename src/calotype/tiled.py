"""Large images through a network tile by tile, with the result of the whole.

Tiles overlap by what an output depends on, so that they meet without a seam. What is global is instance normalisation: its mean and
variance are those of the whole image, gathered over all tiles before they are used, one norm after another. A stage of a network with
n norms therefore goes over the image n + 1 times; between stages the cells are kept in memory, where they are few.

In single precision tiles and the whole differ by far less than a thousandth of a grey level; in bfloat16 by its rounding, evenly over the
image, which is less than bfloat16 and single precision differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from math import ceil, isqrt
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.types import OptionError, Stage
from calotype.whole_file import whole_file

TILE_PIXELS = 1_000_000
KEPT_BYTES = 2**30  # of cells between stages; of larger images, all stages are one

Span = tuple[int, int]  # first row or column, and the one after the last


class Tile(NamedTuple):
    """Image pixels: what a tile is answerable for, and what it is computed from."""

    core_rows: Span
    core_columns: Span
    rows: Span
    columns: Span


class Given:
    """What a network is given of an image file: made on demand, window by window.

    Args:
        pixels: uint8 (C, h, w), or what is given already, float32.
        given: of an image (1, C, h, w) in [0, 1], local.
        margin: pixels of the image that a pixel of it depends on, on each side.
        scale: pixels that it makes of one, in height and in width.
    """

    def __init__(self, pixels: Tensor, given: Callable[[Tensor], Tensor] | None = None, *, margin: int = 0, scale: int = 1) -> None:
        self.pixels = pixels
        self.given = given
        self.margin, self.scale = margin, scale
        self.height, self.width = (side * scale for side in pixels.shape[1:])

    @classmethod
    def by_pair(cls, pixels: Tensor, pair: Any) -> Given:
        """By `pair.given`; where that does not say that it is local, of the whole image at once."""
        if hasattr(pair, "margin"):
            return cls(pixels, pair.given, margin=pair.margin, scale=pair.scale)
        return cls(pair.given(pixels[None].float() / 255)[0])

    def whole(self) -> Tensor:
        return self.read((0, self.height), (0, self.width))

    def read(self, rows: Span, columns: Span) -> Tensor:
        """(1, C, rows, columns) float32 in [0, 1]; spans beyond the image get its part inside."""
        spans, inner = [], []
        for (first, end), side in zip((rows, columns), self.pixels.shape[1:], strict=True):
            start = max(0, first // self.scale - self.margin)
            stop = min(side, ceil(end / self.scale) + self.margin)
            spans.append(slice(start, stop))
            inner.append(slice(first - start * self.scale, min(end, side * self.scale) - start * self.scale))
        part = self.pixels[None, :, spans[0], spans[1]]
        part = part.float() / 255 if part.dtype == torch.uint8 else part
        return (part if self.given is None else self.given(part))[..., inner[0], inner[1]]


@torch.no_grad()
def paint(whole: Callable[[Tensor], Tensor], network: nn.Module, given: Given, path: Path, *, tile_pixels: int) -> None:
    """Write what a network makes of an image as a PNG file, 8 bits.

    Args:
        whole: makes it of the whole image, which is done where it has at most `tile_pixels` or the network knows no stages.
        network: the same, tile by tile: with `grid`, `padded` and `stages` (see `types.Stage`).
        given: the image.
        path: the file.
        tile_pixels: of a tile with its margin; memory grows with them, at about 1 kB a pixel.

    Raises:
        UserError: the network cannot be applied in so small tiles.
    """
    canvas: list[Image.Image] = []

    def put(tile: Tensor, top: int, left: int) -> None:
        pixels = tile[0].float().nan_to_num().clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        part = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        if not canvas:
            canvas.append(Image.new(part.mode, (given.width, given.height)))
        canvas[0].paste(part, (left, top))

    if tile_pixels < 1:
        raise OptionError(f"--tile-pixels {tile_pixels}: at least 1")
    if given.height * given.width <= tile_pixels or not hasattr(network, "stages"):
        put(whole(given.whole()), 0, 0)
    else:
        apply_in_tiles(network, given, put, tile_pixels=tile_pixels)
    with whole_file(path) as partial_path:
        canvas[0].save(partial_path, format="PNG")


def apply_in_tiles(network: Any, given: Given, put: Callable[[Tensor, int, int], None], *, tile_pixels: int) -> None:
    """Apply the stages of a network; `put` gets each part (1, D, h, w) of the result with its top and left."""
    height, width = network.padded(given.height, given.width)
    stages: tuple[Stage, ...] = network.stages()
    smallest = (2 * max(stage.reach for stage in stages) + network.grid) ** 2
    if 8 * max((s.channels * height * width // s.scale**2 for s in stages[:-1]), default=0) > KEPT_BYTES:
        stages = (_joined(stages),)
        smallest = (2 * stages[0].reach + network.grid) ** 2
    if tile_pixels < smallest:
        raise OptionError(f"--tile-pixels {tile_pixels}: at least {smallest} for this network and an image of {given.width}x{given.height}")

    def of_image(rows: Span, columns: Span) -> Tensor:
        part = given.read(rows, columns)
        beyond = (0, columns[1] - columns[0] - part.shape[3], 0, rows[1] - rows[0] - part.shape[2])
        return F.pad(part, beyond, mode="replicate") if any(beyond) else part

    def into_image(part: Tensor, tile: Tile) -> None:
        top, left = tile.core_rows[0], tile.core_columns[0]
        put(part[..., : given.height - top, : given.width - left], top, left)

    read = of_image
    for stage in stages[:-1]:
        cells = _Cells(height // stage.scale, width // stage.scale, stage.scale)
        _apply(stage, read, cells.write, list(tiles(height, width, stage.reach, network.grid, tile_pixels)))
        read = cells.read
    _apply(stages[-1], read, into_image, list(tiles(height, width, stages[-1].reach, network.grid, tile_pixels)))


def tiles(height: int, width: int, reach: int, grid: int, max_pixels: int) -> Iterator[Tile]:
    """Cores that cover an image once, at multiples of the grid, each with `reach` pixels around it where the image has them.

    Args:
        height, width: of the image, multiples of the grid.
        max_pixels: of a tile with what is around it, (2 * reach + grid) squared at least.
    """
    side = isqrt(max_pixels)
    outer = [side, side]
    if width <= side:
        outer = [max_pixels // width, width]
    elif height <= side:
        outer = [height, max_pixels // height]

    axes = []
    for whole, most in zip((height, width), outer, strict=True):
        core = whole if whole <= most else (most - 2 * reach) // grid * grid
        count = ceil(whole / core)
        core = ceil(whole / count / grid) * grid  # even ones
        axes.append([(start, min(start + core, whole)) for start in range(0, whole, core)])
    for rows, columns in product(*axes):
        around = [(max(0, a - reach), min(whole, b + reach)) for (a, b), whole in ((rows, height), (columns, width))]
        yield Tile(rows, columns, around[0], around[1])


class _Cells:
    """What a stage gives for the whole image, filled tile by tile."""

    def __init__(self, height: int, width: int, scale: int) -> None:
        self.size = (height, width)
        self.scale = scale
        self.values: Tensor | None = None

    def write(self, part: Tensor, tile: Tile) -> None:
        if self.values is None:
            self.values = torch.empty(1, part.shape[1], *self.size, dtype=part.dtype)
        self.values[..., self._at(tile.core_rows), self._at(tile.core_columns)] = part

    def read(self, rows: Span, columns: Span) -> Tensor:
        assert self.values is not None
        return self.values[..., self._at(rows), self._at(columns)].clone()  # a block may compute in place

    def _at(self, span: Span) -> slice:
        return slice(span[0] // self.scale, span[1] // self.scale)


class _Moments:
    """Mean and variance of channels over parts (Chan et al., 1979), in double precision."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor = torch.zeros(())
        self.squares: Tensor = torch.zeros(())  # sum of squared differences from the mean

    def add(self, part: Tensor) -> None:
        """(1, C, h, w)."""
        variance, mean = (value.double() for value in torch.var_mean(part.float(), (0, 2, 3), correction=0))
        count = part.shape[2] * part.shape[3]
        total = self.count + count
        apart = mean - self.mean
        self.mean = self.mean + apart * (count / total)
        self.squares = self.squares + variance * count + apart**2 * (self.count * count / total)
        self.count = total

    def result(self) -> tuple[Tensor, Tensor]:
        return self.mean.float(), (self.squares / self.count).float()


class _Gathered(Exception):
    """A norm whose statistics are not known yet has seen this tile."""


class _Norms:
    """Instance norms of a stage, by statistics of the whole image that are gathered norm after norm."""

    def __init__(self) -> None:
        self.known: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        self.next: nn.Module | None = None
        self.moments = _Moments()
        self.tile: Tile | None = None

    def __call__(self, norm: nn.InstanceNorm2d, x: Tensor) -> Tensor:
        if norm in self.known:
            mean, variance = self.known[norm]
            return F.batch_norm(x, mean, variance, norm.weight, norm.bias, False, 0.0, norm.eps)

        # Each tile counts its core alone, or what overlaps would count twice.
        assert self.tile is not None
        tile, spans = self.tile, []
        for (first, end), (start, stop), size in (
            (tile.rows, tile.core_rows, x.shape[2]),
            (tile.columns, tile.core_columns, x.shape[3]),
        ):
            scale = (end - first) // size
            spans.append(slice((start - first) // scale, (stop - first) // scale))
        self.moments.add(x[..., spans[0], spans[1]])
        self.next = norm
        raise _Gathered

    def settle(self) -> None:
        """After all tiles: the norm that gathered is known."""
        assert self.next is not None
        self.known[self.next] = self.moments.result()
        self.next, self.moments = None, _Moments()

    @contextmanager
    def of(self, stage: Stage) -> Iterator[None]:
        """The norms of the stage are these while it lasts."""
        norms = [part for part in stage.module.modules() if isinstance(part, nn.InstanceNorm2d) and not part.track_running_stats]
        try:
            for norm in norms:
                norm.forward = partial(self, norm)  # type: ignore[method-assign]
            yield
        finally:
            for norm in norms:
                norm.__dict__.pop("forward", None)


def _apply(stage: Stage, read: Callable[[Span, Span], Tensor], write: Callable[[Tensor, Tile], None], cut: list[Tile]) -> None:
    norms = _Norms()
    with norms.of(stage):
        while True:
            for tile in cut:
                norms.tile = tile
                try:
                    part = stage.module(read(tile.rows, tile.columns))
                except _Gathered:
                    continue
                at = [
                    slice((core[0] - around[0]) // stage.scale, (core[1] - around[0]) // stage.scale)
                    for core, around in ((tile.core_rows, tile.rows), (tile.core_columns, tile.columns))
                ]
                write(part[..., at[0], at[1]], tile)
            if norms.next is None:
                return
            norms.settle()


def _joined(stages: tuple[Stage, ...]) -> Stage:
    """All stages as one: nothing is kept between them, and each norm's pass computes all before it again."""
    module = nn.Sequential(*(stage.module for stage in stages))
    return Stage(module, sum(stage.reach for stage in stages), stages[-1].scale, stages[-1].channels)

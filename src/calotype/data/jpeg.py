"""JPEG's loss of detail as an operator that gradients pass through."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.images import open_image, orientation_of
from calotype.types import UserError

# ITU-T T.81, tables K.1 and K.2, which the Independent JPEG Group's quality scales.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
CHROMINANCE = (
    (17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99),
)  # fmt: skip  # all other entries are 99
# ITU-T T.871: red, green, blue -> luma and two differences.
TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))


class Jpeg(nn.Module):
    """What encoding and decoding leave of an image: baseline JPEG, colour at half the resolution (4:2:0) unless `file` says otherwise.

    Rounding of the coefficients passes gradients as if it were not there (straight through); values beyond 0 to 1 are cut.

    Args:
        quality: of the Independent JPEG Group's scale, 1 to 100.
        file: a JPEG file; its own tables, resolution of colour and orientation take the place of `quality`.

    Shapes: (N, 1 or 3, H, W) in [0, 1] -> the same.
    """

    factor = 1

    def __init__(self, *, quality: Annotated[int, Ge(1), Le(100)] = 10, file: str | None = None) -> None:
        super().__init__()
        if not 1 <= quality <= 100:
            raise UserError(f"data.operator.quality={quality}: 1 to 100")
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        chrominance = torch.full((8, 8), 99)
        chrominance[:4, :4] = torch.tensor(CHROMINANCE)
        tables = torch.stack([torch.tensor(LUMINANCE), chrominance, chrominance])  # of luma and each difference
        k = torch.arange(8, dtype=torch.float64)
        dct = torch.cos(math.pi * (k[None] + 0.5) * k[:, None] / 8) / 2
        dct[0] /= math.sqrt(2)
        to_ycc = torch.tensor(TO_YCC, dtype=torch.float64)
        tables = ((tables * scale + 50) // 100).clamp(1, 255)
        self.colour = (2, 2)  # rows and columns of luma for one of colour
        self.orientation = 1  # EXIF's: blocks lie as the camera stored them, and images are given as a viewer shows them
        if file is not None:
            tables, self.colour, self.orientation = _read(Path(file))
        self.grid = max(16, 8 * max(self.colour))  # pixels: whole blocks of colour lie in tiles
        self.tables: Tensor
        self.dct: Tensor
        self.to_ycc: Tensor
        self.to_rgb: Tensor
        self.register_buffer("tables", tables.float(), persistent=False)
        self.register_buffer("dct", dct.float(), persistent=False)
        self.register_buffer("to_ycc", to_ycc.float(), persistent=False)
        self.register_buffer("to_rgb", torch.linalg.inv(to_ycc).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        stored = _stored(images, self.orientation)
        return _shown(self._coded(stored), self.orientation)

    def _coded(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        levels = images.float() * 255
        if images.shape[1] == 1:
            decoded = self._plane(levels - 128, self.tables[0]) + 128
        else:
            ycc = torch.einsum("ij,njhw->nihw", self.to_ycc, levels)
            luma = self._plane(ycc[:, :1] - 128, self.tables[0]) + 128
            rows, columns = self.colour
            whole = F.pad(ycc[:, 1:], (0, -width % columns, 0, -height % rows), mode="replicate")
            small = self._plane(F.avg_pool2d(whole, self.colour), self.tables[1:])
            chroma = _enlarged(small, self.colour)[..., :height, :width]
            decoded = torch.einsum("ij,njhw->nihw", self.to_rgb, torch.cat([luma, chroma], 1))
        return (decoded / 255).clamp(0, 1)

    def _plane(self, values: Tensor, table: Tensor) -> Tensor:
        """(N, C, H, W) -> the same after 8x8 blocks were transformed, rounded by `table` (8, 8) or (C, 8, 8) and transformed back."""
        n, channels, height, width = values.shape
        padded = F.pad(values, (0, -width % 8, 0, -height % 8), mode="replicate")
        rows, columns = padded.shape[2] // 8, padded.shape[3] // 8
        blocks = padded.reshape(n, channels, rows, 8, columns, 8).permute(0, 1, 2, 4, 3, 5)
        table = table if table.ndim == 2 else table[:, None, None]
        coefficients = self.dct @ blocks @ self.dct.T / table
        coefficients = coefficients + (coefficients.round() - coefficients).detach()
        blocks = self.dct.T @ (coefficients * table) @ self.dct
        return blocks.permute(0, 1, 2, 4, 3, 5).reshape(padded.shape)[..., :height, :width]


def _enlarged(small: Tensor, colour: tuple[int, int]) -> Tensor:
    """Colour at luma's resolution as the usual decoder (libjpeg) makes it: smooth where it is halved, repeated beyond."""
    smooth = tuple(factor if factor == 2 else 1 for factor in colour)
    if max(smooth) > 1:
        small = F.interpolate(small, scale_factor=smooth, mode="bilinear")
    for axis, factor in zip((2, 3), colour, strict=True):
        small = small.repeat_interleave(factor, axis) if factor > 2 else small
    return small


def _shown(images: Tensor, orientation: int) -> Tensor:
    """Images (..., H, W) as stored -> as a viewer shows them, by the EXIF orientation 1 to 8."""
    if orientation >= 5:
        images = images.transpose(-2, -1)
    return images.flip(_flipped(orientation)) if _flipped(orientation) else images


def _stored(images: Tensor, orientation: int) -> Tensor:
    """The inverse of `_shown`."""
    images = images.flip(_flipped(orientation)) if _flipped(orientation) else images
    return images.transpose(-2, -1) if orientation >= 5 else images


def _flipped(orientation: int) -> list[int]:
    rows = [-2] if orientation in (3, 4, 7, 8) else []
    return rows + ([-1] if orientation in (2, 3, 6, 7) else [])


def _read(path: Path) -> tuple[Tensor, tuple[int, int], int]:
    """Return the tables (3, 8, 8) of luma and two differences of a JPEG file, how much smaller its colour is, its orientation.

    Raises:
        UserError: it is no JPEG file, or its colours are not luma and two differences of one resolution.
    """
    with open_image(path, header_alone=True) as image:
        quantization = getattr(image, "quantization", None)
        layers = getattr(image, "layer", [])  # (number, columns, rows, table) of each component
        is_ycc = len(layers) in (1, 3) and not (len(layers) == 3 and image.info.get("adobe_transform") == 0)
        orientation = orientation_of(image)

    if not quantization or not layers:
        raise UserError(f"{path}: not a JPEG file, so it has no tables; set data.operator.file=null and data.operator.quality")
    if not is_ycc:
        raise UserError(f"{path}: a JPEG of {len(layers)} components that are not luma and colour; convert it to RGB")

    if any(table not in quantization or not columns or not rows for _, columns, rows, table in layers):
        raise UserError(f"{path}: damaged (a component without a table or a size); repair or remove the file")

    tables = torch.tensor([quantization[layer[3]] for layer in layers]).reshape(-1, 8, 8).expand(3, 8, 8)
    if len(layers) == 1:
        return tables, (1, 1), orientation
    (_, columns, rows, _), *differences = layers
    (_, colour_columns, colour_rows, _) = differences[0]
    if differences[0][1:3] != differences[1][1:3] or columns % colour_columns or rows % colour_rows:
        raise UserError(f"{path}: a JPEG whose colours have resolutions of their own; save it as 4:2:0, 4:2:2 or 4:4:4")
    return tables, (rows // colour_rows, columns // colour_columns), orientation

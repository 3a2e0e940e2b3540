"""JPEG's loss of detail as an operator that gradients pass through."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Le
from PIL import Image, JpegImagePlugin
from torch import Tensor, nn
from torch.nn import functional as F

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
        file: a JPEG file; its own tables and resolution of colour take the place of `quality`.

    Shapes: (N, 1 or 3, H, W) in [0, 1] -> the same.
    """

    factor = 1
    grid = 16

    def __init__(self, *, quality: Annotated[int, Ge(1), Le(100)] = 10, file: str | None = None) -> None:
        super().__init__()
        if not 1 <= quality <= 100:
            raise UserError(f"data.operator.quality={quality}: 1 to 100")
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        chrominance = torch.full((8, 8), 99)
        chrominance[:4, :4] = torch.tensor(CHROMINANCE)
        tables = torch.stack([torch.tensor(LUMINANCE), chrominance])
        k = torch.arange(8, dtype=torch.float64)
        dct = torch.cos(math.pi * (k[None] + 0.5) * k[:, None] / 8) / 2
        dct[0] /= math.sqrt(2)
        to_ycc = torch.tensor(TO_YCC, dtype=torch.float64)
        tables = ((tables * scale + 50) // 100).clamp(1, 255)
        self.colour = (2, 2)  # rows and columns of luma for one of colour
        if file is not None:
            tables, self.colour = _read(Path(file))
        self.tables: Tensor
        self.dct: Tensor
        self.to_ycc: Tensor
        self.to_rgb: Tensor
        self.register_buffer("tables", tables.float(), persistent=False)
        self.register_buffer("dct", dct.float(), persistent=False)
        self.register_buffer("to_ycc", to_ycc.float(), persistent=False)
        self.register_buffer("to_rgb", torch.linalg.inv(to_ycc).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        levels = images.float() * 255
        if images.shape[1] == 1:
            decoded = self._plane(levels - 128, self.tables[0]) + 128
        else:
            ycc = torch.einsum("ij,njhw->nihw", self.to_ycc, levels)
            luma = self._plane(ycc[:, :1] - 128, self.tables[0]) + 128
            rows, columns = self.colour
            whole = F.pad(ycc[:, 1:], (0, -width % columns, 0, -height % rows), mode="replicate")
            small = self._plane(F.avg_pool2d(whole, self.colour), self.tables[1])
            chroma = F.interpolate(small, scale_factor=self.colour, mode="bilinear")[..., :height, :width]
            decoded = torch.einsum("ij,njhw->nihw", self.to_rgb, torch.cat([luma, chroma], 1))
        return (decoded / 255).clamp(0, 1)

    def _plane(self, values: Tensor, table: Tensor) -> Tensor:
        """(N, C, H, W) -> the same after 8x8 blocks were transformed, rounded by `table` (8, 8) and transformed back."""
        n, channels, height, width = values.shape
        padded = F.pad(values, (0, -width % 8, 0, -height % 8), mode="replicate")
        rows, columns = padded.shape[2] // 8, padded.shape[3] // 8
        blocks = padded.reshape(n, channels, rows, 8, columns, 8).permute(0, 1, 2, 4, 3, 5)
        coefficients = self.dct @ blocks @ self.dct.T / table
        coefficients = coefficients + (coefficients.round() - coefficients).detach()
        blocks = self.dct.T @ (coefficients * table) @ self.dct
        return blocks.permute(0, 1, 2, 4, 3, 5).reshape(padded.shape)[..., :height, :width]


def _read(path: Path) -> tuple[Tensor, tuple[int, int]]:
    """The tables (2, 8, 8) of luminance and chrominance of a JPEG file, and how much smaller its colour is."""
    try:
        with Image.open(path) as image:
            quantization = getattr(image, "quantization", None)
            sampling = JpegImagePlugin.get_sampling(image) if image.format == "JPEG" else -1
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or 'not an image that can be read'}") from None
    if not quantization:
        raise UserError(f"{path}: not a JPEG file, so it has no tables; set data.operator.file=null and data.operator.quality")
    tables = torch.tensor([quantization[0], quantization.get(1, quantization[0])]).reshape(2, 8, 8)
    return tables, {0: (1, 1), 1: (1, 2)}.get(sampling, (2, 2))

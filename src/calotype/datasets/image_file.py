"""Reads one image file, whatever its mode: palette, CMYK, 16 bit, transparent, rotated by EXIF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

from calotype.types import UserError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
DEEP_MODES = frozenset({"RGB", "I", "I;16", "I;16B", "I;16L"})
STRIP_PIXELS = 2**20  # that are converted at once
GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L"})


def read_image(path: Path, channels: int = 3) -> Tensor:
    """The image in `path` as uint8 (channels, H, W); channels 1 (grey) or 3 (RGB).

    Transparent pixels are laid on white; 16-bit grey keeps its upper 8 bits (rounded); EXIF orientation is applied;
    of an animation the first frame is taken.

    Raises:
        UserError: no such file, not an image, or truncated; it names the file.
    """
    try:
        with Image.open(path) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _as_tensor(image, channels, path)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: a folder, and an image file is needed") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "not an image that can be read" if "cannot identify" in str(error) else str(error)
        raise UserError(f"{path}: {reason}; repair or remove the file") from None


def _as_tensor(image: Image.Image, channels: int, path: Path) -> Tensor:
    """uint8 (channels, H, W), converted strip by strip: beside the file's pixels and the result no whole copy is made."""
    width, height = image.size
    mode = "L" if channels == 1 else "RGB"
    result = torch.empty(channels, height, width, dtype=torch.uint8)
    rows = max(1, STRIP_PIXELS // max(1, width))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = image if rows >= height else image.crop((0, top, width, bottom))
        pixels = torch.from_numpy(np.array(_to_eight_bit(strip, path).convert(mode)))
        result[:, top:bottom] = pixels[None] if channels == 1 else pixels.permute(2, 0, 1)
    return result


def read_deep(path: Path) -> Tensor:
    """The image in `path` as float32 (1 or 3, H, W) in [0, 1]: grey stays grey, 16 bits stay 16 bits; otherwise as `read_image`.

    Raises:
        UserError: as `read_image`; also for floating-point pixels that are not numbers from 0 to 1.
    """
    try:
        with Image.open(path) as image:
            mode, kind = image.mode, image.format
            floats = np.array(image, dtype=np.float32) if mode == "F" else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return read_image(path).float() / 255  # which tells it better
    if floats is not None:
        if not (np.isfinite(floats).all() and floats.min() >= 0 and floats.max() <= 1):
            bad = "NaN or infinite" if not np.isfinite(floats).all() else f"{floats.min():g} to {floats.max():g}"
            raise UserError(f"{path}: floating-point pixels must lie from 0 to 1, these are {bad}; repair or rescale the image")
        return torch.from_numpy(floats)[None]
    if kind == "PNG" and mode in DEEP_MODES and _is_deep_png(path):
        return decode_image(str(path), mode=ImageReadMode.UNCHANGED).float() / 65535  # Pillow has no 16-bit colour
    if kind == "TIFF" and mode in DEEP_MODES:
        import tifffile

        pixels = tifffile.imread(path)
        if pixels.dtype == np.uint16 and pixels.ndim - (mode == "RGB") == 2:
            deep = torch.from_numpy(pixels.astype(np.float32)) / 65535
            return deep[None] if deep.ndim == 2 else deep.permute(2, 0, 1).contiguous()
    return read_image(path, 1 if mode in GREY_MODES else 3).float() / 255


def is_image_file(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def has_transparency(path: Path) -> bool:
    """Whether `read_image` and `read_deep` lay it on white; False for what cannot be read, which they tell."""
    try:
        with Image.open(path) as image:
            return _is_transparent(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in {"LA", "PA", "RGBA", "RGBa", "La"} or "transparency" in image.info


def _is_deep_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(25)[24:] == b"\x10"  # the bit depth, in the header that every PNG starts with


def _to_eight_bit(image: Image.Image, path: Path) -> Image.Image:
    if image.mode in {"I", "I;16", "I;16B", "I;16L", "I;16N"}:
        values = np.asarray(image, dtype=np.float64)
        if values.min() < 0 or values.max() > 65535:
            raise UserError(f"{path}: 32-bit values beyond 16 bits; convert it to 8 or 16 bits")
        return Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.mode == "F":
        raise UserError(f"{path}: floating-point pixels have no agreed range; convert it to 8 or 16 bits")
    if _is_transparent(image):
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image

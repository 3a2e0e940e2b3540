"""Reads one image file as a tensor, whatever its mode: palette, CMYK, 16 bit, transparent, rotated by EXIF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from calotype.console import echo
from calotype.images import is_image_name, open_image, orientation_of, turn_upright
from calotype.types import UserError

STRIP_PIXELS = 2**20  # that are converted at once
GREY_16 = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
GREY_MODES = frozenset({"1", "L", "LA", "I", *GREY_16})
BITS, PHOTOMETRIC, PLANAR, FORMAT = 258, 262, 284, 339  # tags of a TIFF
MIN_IS_WHITE, RGB = 0, 2


def read_image(path: Path, channels: int = 3) -> Tensor:
    """Return the image in `path` as uint8 (channels, H, W); channels 1 (grey) or 3 (RGB).

    Transparent pixels are laid on white; 16-bit grey keeps its upper 8 bits (rounded); EXIF orientation is applied;
    of an animation the first frame is taken.

    Raises:
        UserError: as `calotype.images.open_image`; also for pixels of floating point or beyond 16 bits.
    """
    with open_image(path) as image:
        if _is_planar_16_bit(image):  # of which Pillow makes wrong colours
            image = Image.fromarray(_to_uint8(_deep_tiff(path, image)))
        else:
            turn_upright(image)
        return _as_tensor(image, channels, path)


def read_deep(path: Path) -> Tensor:
    """Return the image in `path` as float32 (1 or 3, H, W) in [0, 1]: grey stays grey, 16 bits stay 16 bits.

    Otherwise as `read_image`.

    Raises:
        UserError: as `read_image`; also for floating-point pixels that are not numbers from 0 to 1.
    """
    with open_image(path) as image:
        if image.mode == "F":
            return _float_pixels(path, image)
        if image.format == "PNG" and image.mode in ("RGB", "RGBA") and _is_deep_png(path):
            return _deep_png(path, image)
        if image.mode in {"I", *GREY_16}:
            turn_upright(image)
            return torch.from_numpy(_values(image, path) / 65535).float()[None]
        if _is_16_bit_tiff(image) and (pixels := _deep_tiff_or_none(path, image)) is not None:
            return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        channels = 1 if image.mode in GREY_MODES else 3
    return read_image(path, channels).float() / 255


def is_image_file(path: Path) -> bool:
    """Return whether a file of this name is read as an image."""
    return is_image_name(path)


def has_transparency(path: Path) -> bool:
    """Return whether `read_image` and `read_deep` lay it on white; False for what cannot be read, which they tell."""
    try:
        with open_image(path, header_alone=True) as image:
            return _is_transparent(image)
    except UserError:
        return False


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return pixels (H, W, ...) as stored -> as a viewer shows them, by the EXIF orientation 1 to 8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _as_tensor(image: Image.Image, channels: int, path: Path) -> Tensor:
    """uint8 (channels, H, W), converted strip by strip: beside the file's pixels and the result no whole copy is made."""
    width, height = image.size
    mode = "L" if channels == 1 else "RGB"
    result = torch.empty(channels, height, width, dtype=torch.uint8)
    rows = max(1, STRIP_PIXELS // max(1, width))
    tags = getattr(image, "tag_v2", {})

    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = image if rows >= height else image.crop((0, top, width, bottom))
        pixels = torch.from_numpy(np.array(_to_eight_bit(strip, path, tags).convert(mode)))
        result[:, top:bottom] = pixels[None] if channels == 1 else pixels.permute(2, 0, 1)
    return result


def _to_eight_bit(image: Image.Image, path: Path, tags: Any) -> Image.Image:
    if image.mode in {"I", *GREY_16}:
        return Image.fromarray(np.rint(_values(image, path, tags) / 257).astype(np.uint8))
    if image.mode == "F":
        raise UserError(f"{path}: floating-point pixels have no agreed range; convert it to 8 or 16 bits")
    if _is_transparent(image):
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image


def _values(image: Image.Image, path: Path, tags: Any = None) -> np.ndarray:
    """Return 16-bit grey pixels (H, W) as float64, 0 black to 65535 white, transparent ones white."""
    tags = getattr(image, "tag_v2", {}) if tags is None else tags
    values = np.asarray(image, dtype=np.float64)
    if values.min() < 0 or values.max() > 65535:
        raise UserError(f"{path}: 32-bit values beyond 16 bits; convert it to 8 or 16 bits")

    # A TIFF may count from white, and may use fewer bits than it stores; Pillow gives its numbers as they are.
    bits = max(tags.get(BITS, (16,)))
    if bits < 16:
        values = values * (65535 / (2**bits - 1))
    if tags.get(PHOTOMETRIC) == MIN_IS_WHITE:
        values = 65535 - values
    transparent = image.info.get("transparency")
    return np.where(values == transparent, 65535.0, values) if isinstance(transparent, int) else values


def _float_pixels(path: Path, image: Image.Image) -> Tensor:
    turn_upright(image)
    pixels = np.array(image, dtype=np.float32)
    if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        bad = "NaN or infinite" if not np.isfinite(pixels).all() else f"{pixels.min():g} to {pixels.max():g}"
        raise UserError(f"{path}: floating-point pixels must lie from 0 to 1, these are {bad}; repair or rescale the image")
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == MIN_IS_WHITE:
        pixels = 1 - pixels
    return torch.from_numpy(pixels)[None]


def _deep_png(path: Path, image: Image.Image) -> Tensor:
    """Return a PNG of 16 bits and in colour, (3, H, W) in [0, 1].

    Pillow gives the upper bytes of 16-bit colours. Read in the other order of bytes, the lower ones are the upper ones.
    """
    orientation, transparent = orientation_of(image), image.info.get("transparency")
    upper = np.array(image).astype(np.uint16)
    with open_image(path, header_alone=True) as swapped:
        (tile,) = swapped.tile  # type: ignore[attr-defined]
        arguments = f"{image.mode};16L"
        is_named = hasattr(tile, "_replace")  # not in older versions of Pillow
        swapped.tile = [tile._replace(args=arguments) if is_named else (*tile[:3], arguments)]  # type: ignore[attr-defined]
        pixels = upper << 8 | np.array(swapped)

    colour = pixels.astype(np.float32) / 65535
    if image.mode == "RGBA":
        colour = _on_white(colour[..., :3], colour[..., 3:])
    elif transparent is not None:  # one colour that stands for nothing
        is_nothing = (pixels == np.asarray(transparent, dtype=np.uint16)).all(-1, keepdims=True)
        colour = np.where(is_nothing, np.float32(1), colour)
    return torch.from_numpy(turned(colour, orientation).copy()).permute(2, 0, 1).contiguous()


def _deep_tiff_or_none(path: Path, image: Image.Image) -> np.ndarray | None:
    """Return as `_deep_tiff`; None where only Pillow can read it, at 8 bits, which is printed."""
    try:
        return _deep_tiff(path, image)
    except UserError:
        if _is_planar_16_bit(image):
            raise
        echo(f"{path}: its compression is read at 8 of its 16 bits; save it uncompressed to have all")
        return None


def _deep_tiff(path: Path, image: Image.Image) -> np.ndarray:
    """Return the first page of a 16-bit colour TIFF, float32 (H, W, 3) in [0, 1], transparent pixels on white.

    Raises:
        UserError: its kind of colour or compression is not read.
    """
    import tifffile

    if image.tag_v2.get(PHOTOMETRIC) != RGB:  # type: ignore[attr-defined]
        raise UserError(f"{path}: 16-bit colour in planes that is not RGB; convert it to RGB or to 8 bits")
    try:
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            pixels = np.asarray(page.asarray())
            planes, extra = page.planarconfig == 2, [int(kind) for kind in page.extrasamples]
    except (ValueError, KeyError, ImportError) as error:  # a decoder that is not installed
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: {reason[:100]}; save it uncompressed") from None

    if planes:
        pixels = np.moveaxis(pixels, 0, -1)
    colour = pixels.astype(np.float32) / 65535
    if extra[:1] == [1]:  # colours that are multiplied by their opacity already
        colour = (colour[..., :3] + 1 - colour[..., 3:4]).clip(0, 1)
    elif extra[:1] == [2]:
        colour = _on_white(colour[..., :3], colour[..., 3:4])
    return np.ascontiguousarray(turned(colour[..., :3], orientation_of(image)))


def _on_white(colour: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    return colour * opacity + (1 - opacity)


def _to_uint8(pixels: np.ndarray) -> np.ndarray:
    return np.rint(pixels * 255).astype(np.uint8)


def _is_16_bit_tiff(image: Image.Image) -> bool:
    """Return whether it is a colour TIFF of 16 bits that are no signed or floating-point numbers."""
    tags = getattr(image, "tag_v2", None)
    if tags is None or image.mode not in ("RGB", "RGBA", "RGBX", "CMYK"):
        return False
    return set(tags.get(BITS, ())) == {16} and set(tags.get(FORMAT, (1,))) == {1}


def _is_planar_16_bit(image: Image.Image) -> bool:
    return _is_16_bit_tiff(image) and image.tag_v2.get(PLANAR) == 2  # type: ignore[attr-defined]


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in {"LA", "PA", "RGBA", "RGBa", "La"} or "transparency" in image.info


def _is_deep_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(25)[24:] == b"\x10"  # the bit depth, in the header that every PNG starts with

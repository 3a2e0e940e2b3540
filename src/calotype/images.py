"""The one place where image files are opened: legal formats, a limit of pixels, orientation, and errors that name the file."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import logging
import os
import stat
import threading
import warnings
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from calotype.console import complain
from calotype.types import UserError

# Decoders that only read pixels. Pillow would also hand PostScript to Ghostscript, which runs it as a program.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "PPM")
SUFFIXES = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    **{".bmp": "BMP", ".gif": "GIF", ".webp": "WEBP"},
    **{".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF"},
}
# What an optional decoder needs, for the message where it is not there.
EXTRAS = {"HEIF": "pip install 'calotype[heic]'", "AVIF": "a Pillow that has AVIF, 11.3 or newer"}

METADATA = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})  # of a PNG, that have an orientation
ORIENTATION = 0x0112  # EXIF's tag: 1 is upright, 5 to 8 exchange height and width
MAX_MEGAPIXELS = 250.0
MAX_NAMED = 100  # files whose damaged metadata is named in one process

PNG = b"\x89PNG\r\n\x1a\n"
PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")  # parts of a PNG without which its pixels are others

_max_megapixels = MAX_MEGAPIXELS
_lock = threading.Lock()
_num_open = 0
_pillows_limit: int | None = None
_warnings_before: warnings.catch_warnings[Any] | None = None
_reading = threading.local()  # .notes: what Pillow warns of the file that this thread reads
_named: set[str] = set()


def max_megapixels() -> float:
    """Return how many million pixels an image file may have in this process."""
    return _max_megapixels


def set_max_megapixels(limit: float | None) -> None:
    """Set how many million pixels an image file may have in this process; None for the default.

    A small file can hold an image that fills the memory, so that some limit is always there.

    Raises:
        UserError: the limit is not above 0.
    """
    global _max_megapixels
    if limit is not None and not limit > 0:  # a NaN neither
        raise UserError(f"max_megapixels={limit}: millions of pixels, above 0")
    _max_megapixels = MAX_MEGAPIXELS if limit is None else float(limit)


@cache
def formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats that are read here: AVIF and HEIF only where their decoders are installed."""
    _silence_libtiff()
    for logger in ("PIL", "tifffile"):  # what they log as an error, they raise as well
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    names = [*FORMATS]
    if importlib.util.find_spec("PIL._avif") is not None:
        names.append("AVIF")
    if importlib.util.find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
        names.append("HEIF")
    return tuple(names)


def _silence_libtiff() -> None:
    """Keep libtiff from printing what Pillow raises anyway, in a line of its own that names no file."""
    with contextlib.suppress(OSError, AttributeError):  # no Linux, or a Pillow that has libtiff within itself
        loaded = {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
        for library in loaded:
            if Path(library).name.startswith("libtiff"):
                ctypes.CDLL(library).TIFFSetErrorHandler(None)
                ctypes.CDLL(library).TIFFSetWarningHandler(None)


def is_image_name(path: Path) -> bool:
    """Return whether a file of this name is read as an image: its suffix says so, a decoder is there, it is not hidden."""
    return SUFFIXES.get(path.suffix.lower()) in formats() and not path.name.startswith(".")


def check_file(path: Path, what: str = "an image file") -> None:
    """Raise UserError where `path` is no regular file, without opening it: opening a pipe waits for ever."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # a name that is too long, a zero byte in it
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(mode):
        raise UserError(f"{path}: a folder, and {what} is needed")
    if not stat.S_ISREG(mode):
        raise UserError(f"{path}: a pipe, socket or device, and {what} is needed")


@contextlib.contextmanager
def open_image(path: Path | str, *, header_alone: bool = False) -> Iterator[Image.Image]:
    """Give the image in `path`, of which only the header was read; its pixels are decoded within the block.

    Whatever a decoder raises in the block is told as the file's fault: a damaged file can make it raise anything. What
    it warns of (damaged metadata, whose orientation is lost) is printed in one line, once for each file.

    Args:
        path: the file.
        header_alone: True where no pixels are asked for; the checksums of a PNG are left alone then.

    Raises:
        UserError: no such file, no regular file (a pipe or device is never opened), no format that is read here, more
            pixels than the limit, or damaged; it names the file.
    """
    path = Path(path)
    with _pillows_state(), _notes_of(path) as notes:
        try:
            with _regular_file(path) as file:
                if not header_alone:
                    notes += _check_png(file)
                with Image.open(file, formats=formats()) as image:
                    _check_pixels(path, *image.size)
                    yield image
        except UserError:
            raise
        except UnidentifiedImageError:
            raise UserError(f"{path}: {_unknown(path)}") from None
        except MemoryError as error:
            raise UserError(f"{path}: it does not fit into memory; make it smaller") from error
        except Exception as error:
            raise UserError(f"{path}: {_reason(error)}; repair or remove the file") from error


def turn_upright(image: Image.Image) -> None:
    """Decode the image and turn it as its EXIF orientation says, in place.

    Newer versions of Pillow turn a TIFF as they decode it, and then forget its orientation.
    """
    image.load()
    ImageOps.exif_transpose(image, in_place=True)


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, of an image that has not been decoded yet; 1 where there is none."""
    # Asked of a PNG without such data, Pillow decodes all of it to look behind the pixels.
    if image.format == "PNG" and not METADATA & image.info.keys():
        return 1
    value = image.getexif().get(ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def upright_size(path: Path | str) -> tuple[int, int]:
    """Return (width, height) as a viewer shows the image, from its header alone. Raises as `open_image`."""
    with open_image(path, header_alone=True) as image:
        tags = getattr(image, "tag_v2", None)
        # By its tags, since versions of Pillow differ in whether the size of a TIFF is the upright one.
        width, height = image.size if tags is None else (tags[256], tags[257])
        return (height, width) if orientation_of(image) >= 5 else (width, height)


@contextlib.contextmanager
def _regular_file(path: Path) -> Iterator[BinaryIO]:
    """Give the opened file. Pillow is given the file, not its name: by name it maps TIFFs and turns them wrongly."""
    check_file(path)
    try:
        file = path.open("rb")
    except OSError as error:  # no permission
        raise UserError(f"{path}: {error.strerror}") from None
    with file:
        yield file


@contextlib.contextmanager
def _pillows_state() -> Iterator[None]:
    """Switch Pillow's limit off and take its warnings while files are open here, in however many threads; other code keeps both."""
    global _num_open, _pillows_limit, _warnings_before
    with _lock:
        if _num_open == 0:
            _pillows_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            _warnings_before = warnings.catch_warnings()
            _warnings_before.__enter__()
            warnings.filterwarnings("always", module=r"PIL\.")
            warnings.showwarning = _noting(warnings.showwarning)
        _num_open += 1
    try:
        yield
    finally:
        with _lock:
            _num_open -= 1
            if _num_open == 0:
                Image.MAX_IMAGE_PIXELS = _pillows_limit
                assert _warnings_before is not None
                _warnings_before.__exit__(None, None, None)


def _noting(show: Any) -> Any:
    """Return what shows a warning: Pillow's as a note on the file that is read, all others as `show` does."""

    def noting(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
        notes = getattr(_reading, "notes", None)
        if notes is None or "PIL" not in Path(filename).parts:
            show(message, category, filename, lineno, file, line)
        else:
            notes.append(str(message))

    return noting


@contextlib.contextmanager
def _notes_of(path: Path) -> Iterator[list[str]]:
    """Give a list for what is odd about the file; where it could be read nevertheless, print that once, in one line."""
    outer = getattr(_reading, "notes", None)
    _reading.notes = notes = list[str]()
    try:
        yield notes
    finally:
        _reading.notes = outer

    if notes and str(path) not in _named and len(_named) <= MAX_NAMED:
        _named.add(str(path))
        told = f"{path}: damaged in part ({' '.join(notes[0].split())[:120]}); taken as far as it can be read"
        complain(told if len(_named) <= MAX_NAMED else f"more than {MAX_NAMED} files are damaged in part; no more are named")


def _check_png(file: BinaryIO) -> list[str]:
    """Compare the checksums of a PNG, which Pillow does not do behind the header; return what is wrong beside its pixels.

    Raises:
        ValueError: a part that its pixels need is damaged.
    """
    notes = []
    if file.read(len(PNG)) == PNG:
        while True:
            head = file.read(8)
            size, kind = int.from_bytes(head[:4], "big"), head[4:]
            data, checksum = file.read(min(size, 2**31)), file.read(4)
            if len(checksum) < 4:
                notes.append("its end is missing")  # Pillow knows whether pixels are
                break
            if zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(checksum, "big"):
                told = f"the checksum of its {kind.decode('latin-1')} is not right"
                if kind in PIXELS:
                    raise ValueError(told)
                notes.append(told)
            if kind == b"IEND":
                break
    file.seek(0)
    return notes


def _check_pixels(path: Path, width: int, height: int) -> None:
    megapixels = width * height / 1e6
    if megapixels > _max_megapixels:
        raise UserError(
            f"{path}: {width}x{height} are {megapixels:.4g} megapixels, more than max_megapixels={_max_megapixels:g}; "
            "raise it (calotype-apply: --max-megapixels) or make the image smaller"
        )


def _unknown(path: Path) -> str:
    """Return why a file is no image that is read here, and what to do, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(32)
    if not head:
        return "an empty file; repair or remove it"
    if head.startswith((b"%!", b"\xc5\xd0\xd3\xc6")):
        return "PostScript, which is a program and is never run; convert it to PNG"
    if head[4:8] == b"ftyp":
        kind = "AVIF" if head[8:12] in (b"avif", b"avis") else "HEIF"
        if kind not in formats():
            return f"{kind} takes {EXTRAS[kind]}; or convert it to PNG"
    return f"not an image that can be read ({', '.join(formats())}); repair or remove the file"


def _reason(error: Exception) -> str:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return reason if isinstance(error, OSError | SyntaxError | ValueError) else f"damaged ({reason})"

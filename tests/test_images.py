"""How image files are opened: what is read, what is never run or opened, how large, which way up."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import socket
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from calotype import images
from calotype.datasets.image_file import has_transparency, read_deep, read_image
from calotype.images import open_image, set_max_megapixels, upright_size
from calotype.schema import conf_dir
from calotype.types import UserError

SOURCES = Path(images.__file__).parent
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n{} loop\n%%EOF\n"


@pytest.fixture(autouse=True)
def _default_limit():  # type: ignore[no-untyped-def]
    yield
    set_max_megapixels(None)


@pytest.mark.parametrize("name", ["a.eps", "a.png", "a.jpg", "a.ps"])
@pytest.mark.parametrize("read", [read_image, read_deep])
def test_postscript_is_never_run(name: str, read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Pillow hands it to Ghostscript, by its first bytes and whatever the file is called."""
    (tmp_path / name).write_bytes(EPS)
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("run"))
    assert not has_transparency(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name}: PostScript, which is a program and is never run") as told:
        read(tmp_path / name)
    assert "\n" not in str(told.value)


def test_files_are_opened_in_one_place() -> None:
    """Every other place would need the same guards: formats, pixels, pipes, orientation."""
    opening = re.compile(r"\bImage\.open\(|\bimread\(|\bdecode_(image|jpeg|png)\(|\bread_file\(|TiffFile\(")
    found = {path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*.py") if opening.search(path.read_text())}
    assert found == {"images.py", "datasets/image_file.py"}  # the second has 16-bit decoders, after open_image


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder", "link to a pipe"])
def test_what_is_no_file_is_refused_unopened(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a pipe waits for who writes into it, for ever."""
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    path = Path("x.png")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("x.png")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo("y")
        path.symlink_to("y")
    for read in (read_image, read_deep, upright_size):
        with pytest.raises(UserError, match=r"x.png: a (pipe, socket or device|folder), and an image file is needed"):
            read(path)


def test_names_that_no_file_can_have() -> None:
    for name, reason in (("a" * 300 + ".png", "too long"), ("a\0b.png", "null byte|embedded")):
        with pytest.raises(UserError, match=reason) as told:
            read_image(Path(name))
        assert "\n" not in str(told.value)


def test_names_that_are_long_or_not_utf8(tmp_path: Path) -> None:
    for name in ("n" * 246 + ".png", os.fsdecode(b"caf\xe9.png"), "a\nb.png", "\u732b.png"):
        Image.new("L", (3, 2), 9).save(tmp_path / name)
        assert read_image(tmp_path / name, 1).unique().tolist() == [9]
        assert read_deep(tmp_path / name).shape == (1, 2, 3)
    Image.fromarray(np.full((2, 3), 257, dtype=np.uint16)).save(tmp_path / os.fsdecode(b"\xe9.png"))
    assert read_deep(tmp_path / os.fsdecode(b"\xe9.png"))[0, 0, 0].item() == pytest.approx(257 / 65535)


def test_own_limit_of_pixels(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.new("1", (1500, 1000)).save(path)
    set_max_megapixels(1.4)
    for read in (read_image, read_deep, upright_size):
        with pytest.raises(UserError, match=r"wide.png: 1500x1000 are 1.5 megapixels, more than max_megapixels=1.4; raise it"):
            read(path)
    set_max_megapixels(1.5)
    assert read_image(path, 1).shape == (1, 1000, 1500)
    for limit in (0, -1, float("nan")):
        with pytest.raises(UserError, match="above 0"):
            set_max_megapixels(limit)


def test_the_limit_is_the_same_without_a_config() -> None:
    written = yaml.safe_load((conf_dir() / "config.yaml").read_text())["max_megapixels"]
    assert written == images.MAX_MEGAPIXELS


def test_pillows_limit_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image beyond Pillow's limit was called a bomb, "repair or remove the file"; other code keeps that limit."""
    path = tmp_path / "large.png"
    Image.new("1", (60, 50)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path, 1).shape == (1, 50, 60)
    assert Image.MAX_IMAGE_PIXELS == 1000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "gif", "webp", "ppm"])
def test_damage_anywhere_is_one_line_or_an_image(suffix: str, tmp_path: Path) -> None:
    rng = np.random.RandomState(0)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(rng.randint(0, 256, (24, 31, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.randint(0, len(whole), 4):
            damaged[place] = rng.randint(256)
        path.write_bytes(damaged[: rng.randint(1, len(whole) + 1)] if rng.rand() < 0.3 else damaged)
        for read in (read_image, read_deep, upright_size):
            with warnings.catch_warnings(), contextlib.suppress(UserError):
                warnings.simplefilter("ignore")  # Pillow's own, of damaged metadata
                read(path)


def test_empty_and_unknown_files(tmp_path: Path) -> None:
    for content, reason in ((b"", "an empty file"), (b"\0\0\0 ftypheic" + bytes(40), r"HEIF takes|repair"), (b"hello", "not an image")):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(UserError, match=reason):
            read_image(tmp_path / "a.png")


@pytest.mark.skipif(importlib.util.find_spec("PIL._avif") is None, reason="this Pillow has no AVIF")
def test_avif(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6), (200, 10, 10)).save(tmp_path / "a.avif")
    assert images.is_image_name(tmp_path / "a.avif")
    assert read_image(tmp_path / "a.avif").shape == (3, 6, 8)


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="needs the extra heic")
def test_heic(tmp_path: Path) -> None:
    images.formats()  # registers the plug-in
    Image.new("RGB", (16, 12), (200, 10, 10)).save(tmp_path / "a.heic")
    assert images.is_image_name(tmp_path / "a.heic")
    assert read_image(tmp_path / "a.heic").shape == (3, 12, 16)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "mpo"])
def test_size_is_the_upright_one(orientation: int, suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (6, 4)).save(tmp_path / f"a.{suffix}", exif=exif)
    width, height = (4, 6) if orientation >= 5 else (6, 4)
    assert read_image(tmp_path / f"a.{suffix}").shape == (3, height, width)
    assert upright_size(tmp_path / f"a.{suffix}") == (width, height)
    with open_image(tmp_path / f"a.{suffix}") as image:
        assert images.orientation_of(image) == orientation

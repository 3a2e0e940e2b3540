"""A short instance of `damaged_images.py`, and the damages that were once not told, by name."""

from __future__ import annotations

import os
import random
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calotype import images
from calotype.cli_report import report_main
from calotype.data.jpeg import Jpeg
from calotype.datasets.characters import mnist
from calotype.datasets.image_file import read_deep, read_image
from calotype.datasets.joblib_array import read_array
from calotype.images import open_image, upright_size
from calotype.types import UserError
from fuzz import damaged_images
from helpers import write_run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> damaged_images.Place:
    return damaged_images.make_place(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.slow
def test_a_damaged_file_is_named_by_every_command(place: damaged_images.Place) -> None:
    counts, faults = damaged_images.fuzz(place, 80, seed=7, each=1)
    assert faults == []
    assert counts["named"] > 30


@pytest.mark.slow
@pytest.mark.parametrize("kind", damaged_images.KINDS)
def test_commands_take_the_file_that_is_not_damaged(kind: str, place: damaged_images.Place) -> None:
    """Without this, refusing everything would pass."""
    refused = set()
    for way in damaged_images.readers(place, Path("x"), kind):
        path = damaged_images.make_file(place, kind, random.Random(0))
        assert not damaged_images.tells_damage(path)
        read = damaged_images.readers(place, path, kind)[way]
        found = damaged_images.run_reader(read, path)
        # A warning of the likeness and the lines about a gallery name the file, too.
        if found.kind not in ("harmless", "named") or (found.kind == "named" and re.search("repair|damaged|needed|not ", found.text)):
            refused.add(way)
    assert refused <= ({"operator"} if kind == "jpeg cmyk" else set()) | {"train unresized"}  # some are turned, and others are not


@pytest.fixture(autouse=True)
def _unnamed() -> None:
    images._named.clear()


def png(path: Path, *parts: tuple[bytes, bytes], wrong: bytes = b"") -> Path:
    """A grey PNG of 2x2 with further parts behind the pixels; the checksum of the part `wrong` is not right."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0\1\2\0\3\4")), *parts, (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        data += struct.pack(">I", len(content)) + kind + content
        data += struct.pack(">I", zlib.crc32(kind + content) ^ (kind == wrong))
    path.write_bytes(data)
    return path


def test_the_checksums_of_a_png_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pillow compares none behind the header: flipped bits that zlib can read were other pixels."""
    good = png(tmp_path / "good.png")
    assert read_image(good, 1).flatten().tolist() == [1, 2, 3, 4]
    for read in (read_image, read_deep):
        with pytest.raises(UserError, match=r"bad.png: the checksum of its IDAT is not right; repair or remove the file"):
            read(png(tmp_path / "bad.png", wrong=b"IDAT"))
    assert upright_size(tmp_path / "bad.png") == (2, 2)

    text = png(tmp_path / "text.png", (b"tEXt", b"a\0b"), wrong=b"tEXt")
    for _ in range(2):
        assert read_image(text, 1).flatten().tolist() == [1, 2, 3, 4]
    assert capsys.readouterr().err == (
        f"calotype: {text}: damaged in part (the checksum of its tEXt is not right); taken as far as it can be read\n"
    )
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:-12])
    assert read_image(cut, 1).flatten().tolist() == [1, 2, 3, 4]
    assert "cut.png: damaged in part (its end is missing)" in capsys.readouterr().err
    good.write_bytes(good.read_bytes() + b"more")
    read_image(good, 1)
    assert capsys.readouterr().err == ""


def turned_jpeg(path: Path) -> Path:
    """A JPEG whose orientation is there, and whose next tag is cut off."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera of some name"
    data = exif.tobytes()
    Image.new("RGB", (20, 10)).save(path, exif=data[:-20])
    return path


def test_what_pillow_warns_of_is_one_line_with_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It was two lines of Python's without the file's name."""
    path = turned_jpeg(tmp_path / "turned.jpg")
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        read_image(path)
        read_image(path)
        with open_image(path):
            warnings.warn("somebody else's", stacklevel=1)
    assert [str(one.message) for one in others] == ["somebody else's"]
    assert re.fullmatch(r"calotype: .*turned.jpg: damaged in part \(.+\); taken as far as it can be read\n", capsys.readouterr().err)
    assert warnings.showwarning.__module__ != "calotype.images"


def test_a_thousand_odd_files_are_not_a_thousand_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_NAMED", 3)
    for i in range(6):
        read_image(turned_jpeg(tmp_path / f"{i}.jpg"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[-1] == "calotype: more than 3 files are damaged in part; no more are named"


def test_a_tiff_that_cannot_be_decoded_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """libtiff printed another one, on the stream itself."""
    path = tmp_path / "a.tif"
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 40, 3), dtype=np.uint8)).save(path, compression="tiff_deflate")
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes(200) + data[300:])
    with pytest.raises(UserError, match=r"a.tif: "):
        read_image(path)
    assert capfd.readouterr() == ("", "")


def test_what_pillow_logs_is_no_line_of_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A TIFF of 16387 samples a pixel was an error by Python's logging, without the file's name, before the one line."""
    path = tmp_path / "a.tif"
    Image.new("RGB", (8, 8)).save(path)
    data = bytearray(path.read_bytes())
    samples = data.index(struct.pack("<HHI", 277, 3, 1))  # the tag, its type, one number
    data[samples + 8 : samples + 10] = struct.pack("<H", 16387)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a.tif: "):
        read_image(path)
    assert caplog.records == []


def test_a_picture_that_the_page_leaves_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run", 0, {"test/eer": 0.1})
    pictures = tmp_path / "run" / "images"
    pictures.mkdir()
    for name in ("good", "cut"):
        Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 40), dtype=np.uint8)).save(pictures / f"{name}.png")
    (pictures / "cut.png").write_bytes((pictures / "cut.png").read_bytes()[:300])
    os.mkfifo(pictures / "pipe.png")
    report_main([str(tmp_path / "run"), "--page", str(tmp_path / "page.html")])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("calotype: ")]
    assert len(lines) == 2
    assert lines[0].startswith(f"calotype: left out of the page: {pictures}/cut.png: ")
    assert lines[1].startswith(f"calotype: left out of the page: {pictures}/pipe.png: a pipe, socket or device")
    assert '"name":"good"' in (tmp_path / "page.html").read_text().replace(" ", "")


@pytest.mark.parametrize("name", damaged_images.IDX)
def test_a_damaged_file_of_mnist_is_named(name: str, tmp_path: Path) -> None:
    """torchvision named the folder, a shape that does not fit, or nothing."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    damaged_images.idx(raw / name, random.Random(0))
    assert len(mnist(str(tmp_path), download=False)) == 30
    whole = (raw / name).read_bytes()
    for damaged in (b"", whole[:6], whole[:-1], whole + b"\0", b"\1" + whole[1:], whole[:4] + b"\xff" + whole[5:]):
        (raw / name).write_bytes(damaged)
        with pytest.raises(UserError, match=rf"{name}: damaged \(its size is not what its first bytes say\)"):
            mnist(str(tmp_path), download=False)
    if "labels" in name:
        (raw / name).write_bytes(whole[:9] + b"\x42" + whole[10:])
        with pytest.raises(UserError, match=rf"{name}: damaged \(a label is 66, and 9 is the last\)"):
            mnist(str(tmp_path), download=False)
    (raw / name).unlink()
    os.mkfifo(raw / name)
    with pytest.raises(UserError, match=rf"{name}: a pipe, socket or device, and a file of the data set is needed"):
        mnist(str(tmp_path), download=False)


def test_an_array_of_joblib_that_is_cut_off_before_its_checksum(tmp_path: Path) -> None:
    """All its numbers may be there, and nobody could tell whether they are right."""
    path = tmp_path / "olivetti_py3.pkz"
    damaged_images.pickled_array(path, random.Random(0))
    whole = path.read_bytes()
    assert read_array(path, (400, 4096)).shape == (400, 4096)
    for length in (len(whole) - 1, len(whole) - 4):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"olivetti_py3.pkz: not the file that scikit-learn makes"):
            read_array(path, (400, 4096))


@pytest.mark.parametrize("change", ["no table", "no size"])
def test_a_jpeg_whose_header_is_damaged_has_no_operator(change: str, tmp_path: Path) -> None:
    """It was a KeyError or a division by zero."""
    path = tmp_path / "a.jpg"
    Image.new("RGB", (16, 16)).save(path)
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0") + 10  # of each component: number, columns and rows, table
    if change == "no table":
        data[frame + 3 + 2] = 7
    else:
        data[frame + 3 + 1] = 0
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a.jpg: damaged \(a component without a table or a size\)"):
        Jpeg(file=str(path))

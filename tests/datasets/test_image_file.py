from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, TiffImagePlugin

from calotype.datasets import image_file
from calotype.datasets.image_file import read_deep, read_image
from calotype.types import UserError

COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], dtype=np.uint8)


def test_colour_and_grey(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(COLOURS).save(path)
    assert torch.equal(read_image(path), torch.from_numpy(COLOURS).permute(2, 0, 1))
    assert read_image(path, 1).tolist() == [[[76, 150], [29, 255]]]  # ITU-R 601-2


@pytest.mark.parametrize("dtype", [np.uint16])
def test_sixteen_bit_keeps_the_upper_eight(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=dtype)).save(path)
    assert read_image(path, 1).flatten().tolist() == [0, 1, 128, 255]


def test_palette_and_cmyk(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    assert torch.equal(read_image(tmp_path / "p.png"), torch.from_numpy(COLOURS).permute(2, 0, 1))
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=100)
    red, green, blue = read_image(tmp_path / "c.jpg").float().mean((1, 2)).tolist()
    assert red > 250
    assert green < 5
    assert blue < 5


def test_transparent_lies_on_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[0, 0, 0, 0], [0, 0, 0, 255]]], dtype=np.uint8)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", 1).tolist() == [[[255, 0]]]


def test_exif_orientation(tmp_path: Path) -> None:
    image = Image.new("L", (4, 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to show
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg", 1).shape == (1, 4, 2)


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent.png: no such file"):
        read_image(tmp_path / "absent.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(UserError, match=r"text.png: not an image"):
        read_image(tmp_path / "text.png")
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "cut.jpg")
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut.jpg: .*truncated"):
        read_image(tmp_path / "cut.jpg")
    Image.fromarray(np.zeros((2, 2), dtype=np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(UserError, match=r"f.tif: floating-point"):
        read_image(tmp_path / "f.tif")


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "CMYK", "I;16", "1"])
@pytest.mark.parametrize("channels", [1, 3])
def test_strip_by_strip_is_the_whole(mode: str, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.RandomState(0).randint(0, 256, (23, 17, 4), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 256 + noise[..., 1])
    else:
        image = Image.fromarray(noise, "RGBA" if mode in ("RGBA", "LA") else "CMYK" if mode == "CMYK" else None).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path, **({"transparency": 3} if mode == "P" else {}))
    whole = read_image(path, channels)
    assert whole.is_contiguous()
    monkeypatch.setattr(image_file, "STRIP_PIXELS", 17 * 5)
    assert torch.equal(read_image(path, channels), whole)


RNG = np.random.RandomState(3)
DEEP = {"grey": RNG.randint(0, 65536, (23, 31), dtype=np.uint16), "color": RNG.randint(0, 65536, (23, 31, 3), dtype=np.uint16)}


def exif_bytes(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def shown(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """What a viewer shows, by the table of the EXIF standard: where the stored row 0 and column 0 lie."""
    by_standard = {
        1: pixels,
        2: np.fliplr(pixels),
        3: np.rot90(pixels, 2),
        4: np.flipud(pixels),
        5: np.rot90(np.fliplr(pixels), 1),
        6: np.rot90(pixels, -1),
        7: np.rot90(np.fliplr(pixels), -1),
        8: np.rot90(pixels, 1),
    }
    return by_standard[orientation]


def as_array(image: torch.Tensor) -> np.ndarray:
    return image[0].numpy() if image.shape[0] == 1 else image.permute(1, 2, 0).numpy()


def write_deep(path: Path, pixels: np.ndarray, kind: str, orientation: int = 1) -> None:
    """A 16-bit file in one of the ways that programs write it."""
    is_color = pixels.ndim == 3
    tag = [(274, "H", 1, orientation, True)]
    photometric = "rgb" if is_color else "minisblack"
    if kind == "png":
        cv2 = pytest.importorskip("cv2")
        encoded = cv2.imencode(".png", pixels[..., ::-1] if is_color else pixels)[1].tobytes()
        data = exif_bytes(orientation).removeprefix(b"Exif\0\0")
        chunk = b"eXIf" + data
        chunk = len(data).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        path.write_bytes(encoded[:33] + chunk + encoded[33:])
    elif kind == "planar":
        tifffile.imwrite(path, np.moveaxis(pixels, 2, 0), photometric="rgb", planarconfig="separate", extratags=tag)
    elif kind == "white":
        tifffile.imwrite(path, 65535 - pixels, photometric="miniswhite", extratags=tag)
    elif kind == "big endian":
        tifffile.imwrite(path, pixels, photometric=photometric, byteorder=">", extratags=tag)
    elif kind == "deflate":
        tifffile.imwrite(path, pixels, photometric=photometric, compression="zlib", predictor=True, extratags=tag)
    elif kind == "lzw":
        info = TiffImagePlugin.ImageFileDirectory_v2()
        info[274] = orientation
        Image.fromarray(pixels).save(path, compression="tiff_lzw", tiffinfo=info)
    else:
        tifffile.imwrite(path, pixels, photometric=photometric, extratags=tag)


KINDS = [
    ("plain", "grey"), ("plain", "color"), ("png", "grey"), ("png", "color"), ("planar", "color"), ("white", "grey"), ("lzw", "grey"),
    ("big endian", "grey"), ("big endian", "color"), ("deflate", "color"), ("deflate", "grey"),
]  # fmt: skip


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
@pytest.mark.parametrize(("kind", "content"), KINDS)
def test_sixteen_bits_as_a_viewer_shows_them(kind: str, content: str, orientation: int, tmp_path: Path) -> None:
    """Not turned, refused, of wrong colours or negative, once."""
    path = tmp_path / ("a.png" if kind == "png" else "a.tif")
    write_deep(path, DEEP[content], kind, orientation)
    want = shown(DEEP[content], orientation)
    assert np.array_equal(np.rint(as_array(read_deep(path)) * 65535), want)

    eight = as_array(read_image(path, 1 if content == "grey" else 3)).astype(int)
    assert np.abs(eight - want / 257).max() <= 1  # Pillow cuts the lower byte off, and does not round


def test_sixteen_bits_with_transparency(tmp_path: Path) -> None:
    pixels = np.dstack([DEEP["color"], RNG.randint(0, 65536, (23, 31), dtype=np.uint16)])
    opacity = pixels[..., 3:] / 65535
    want = pixels[..., :3] / 65535 * opacity + 1 - opacity
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / "a.png"), pixels[..., [2, 1, 0, 3]])
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    for name in ("a.png", "a.tif"):
        assert np.allclose(as_array(read_deep(tmp_path / name)), want, atol=1e-5), name


def test_sixteen_bit_colours_in_lzw_say_that_eight_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), DEEP["color"][..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    read = as_array(read_deep(path))
    assert np.abs(read * 255 - DEEP["color"] / 257).max() <= 1
    lost = not np.array_equal(np.rint(read * 65535), DEEP["color"])
    assert ("a.tif: its compression is read at 8 of its 16 bits" in capsys.readouterr().out) == lost


def test_twelve_bits_reach_white(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[65535, 65535]], dtype=np.uint16))
    stored = bytearray((tmp_path / "a.tif").read_bytes())
    place = stored.find((258).to_bytes(2, "little") + (3).to_bytes(2, "little"))
    stored[place + 8 : place + 10] = (12).to_bytes(2, "little")  # two pixels of 12 bits lie in three of the four bytes
    (tmp_path / "a.tif").write_bytes(stored)
    assert read_deep(tmp_path / "a.tif").flatten().tolist() == [1.0, 1.0]
    assert read_image(tmp_path / "a.tif", 1).flatten().tolist() == [255, 255]


@pytest.mark.parametrize("bits", [8, 16])
def test_planes_and_white_zero_of_pillow(bits: int, tmp_path: Path) -> None:
    dtype = np.uint8 if bits == 8 else np.uint16
    grey, colour = DEEP["grey"].astype(dtype), DEEP["color"].astype(dtype)
    tifffile.imwrite(tmp_path / "w.tif", grey, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "p.tif", np.moveaxis(colour, 2, 0), photometric="rgb", planarconfig="separate")
    full = 2**bits - 1
    for read, scale, tolerance in ((read_image, 255, 1), (read_deep, 1, 1e-5)):
        white = as_array(read(tmp_path / "w.tif"))
        white = white[..., :1].squeeze() if white.ndim == 3 else white  # of three equal channels
        assert np.abs(white - (full - grey) / full * scale).max() <= tolerance
        assert np.abs(as_array(read(tmp_path / "p.tif")) - colour / full * scale).max() <= tolerance

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from calotype.datasets import image_file
from calotype.datasets.image_file import read_image
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

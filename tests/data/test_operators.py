"""Operators against naive loops and against Pillow's JPEG; gradients pass through them; tiles see what the whole sees."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL
import pytest
import skimage.data
import torch
from PIL import Image
from torch import Tensor, nn

from calotype.data.jpeg import Jpeg
from calotype.data.operators import Blur, Downsample, Identity
from calotype.data.tiles import tile_corners
from calotype.datasets.image_file import read_deep, turned
from calotype.types import UserError


def naive_lanczos(image: np.ndarray, factor: int, lobes: int) -> np.ndarray:
    """One channel; every output pixel a sum over the whole (edge-continued) image."""

    def along(rows: np.ndarray) -> np.ndarray:
        n = rows.shape[0]
        out = np.zeros((n // factor, rows.shape[1]))
        for i in range(n // factor):
            centre = i * factor + (factor - 1) / 2
            total = 0.0
            for j in range(-lobes * factor - factor, n + lobes * factor + factor):
                x = (j - centre) / factor
                weight = np.sinc(x) * np.sinc(x / lobes) if abs(x) < lobes else 0.0
                total += weight
                out[i] += weight * rows[min(max(j, 0), n - 1)]
            out[i] /= total
        return out

    return along(along(image).T).T


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("lobes", [2, 3])
def test_downsample_is_lanczos(factor: int, lobes: int) -> None:
    image = np.random.default_rng(0).random((16, 32))
    want = naive_lanczos(image, factor, lobes)
    found = Downsample(factor=factor, lobes=lobes)(torch.from_numpy(image).float()[None, None])
    assert found.shape == (1, 1, 16 // factor, 32 // factor)
    assert np.allclose(found[0, 0].numpy(), want, atol=1e-5)


def test_blur_is_scipys_gaussian() -> None:
    from scipy.ndimage import gaussian_filter

    image = np.random.default_rng(0).random((20, 24))
    want = gaussian_filter(image, 1.5, mode="nearest", truncate=4)
    assert np.allclose(Blur(radius=1.5)(torch.from_numpy(image).float()[None, None])[0, 0].numpy(), want, atol=1e-5)


@pytest.mark.parametrize("quality", [10, 50, 90])
@pytest.mark.parametrize("grey", [False, True])
def test_jpeg_is_what_pillow_writes_and_reads(quality: int, grey: bool) -> None:
    pixels = skimage.data.astronaut()[100:203, 150:255]  # odd sides
    pixels = pixels[..., 1] if grey else pixels
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=2)
    want = np.array(Image.open(file)).astype(float)
    image = torch.from_numpy(pixels).float() / 255
    image = image[None, None] if grey else image.permute(2, 0, 1)[None]
    found = Jpeg(quality=quality)(image)[0].permute(1, 2, 0).squeeze().numpy() * 255
    error, loss = np.abs(found - want).mean(), np.abs(pixels - want).mean()
    assert error < (0.45 if grey else 0.3 * loss + 0.4)  # Pillow computes in whole numbers, which alone is 0.25


@pytest.mark.parametrize("sampling", [0, 1, 2])
def test_tables_of_a_file(sampling: int, tmp_path: Path) -> None:
    """Encoding a decoded JPEG again with its own tables changes next to nothing; with others it does."""
    pixels = skimage.data.astronaut()[96:224, 144:272]
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", quality=25, subsampling=sampling)
    decoded = torch.from_numpy(np.array(Image.open(tmp_path / "photo.jpg"))).permute(2, 0, 1)[None].float() / 255
    clean = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    own, other = Jpeg(file=str(tmp_path / "photo.jpg")), Jpeg(quality=60)
    assert (own(clean) - decoded).abs().mean() < 0.3 * (clean - decoded).abs().mean()
    assert (own(clean) - decoded).abs().mean() < 0.5 * (other(clean) - decoded).abs().mean()
    assert own.colour == {0: (1, 1), 1: (1, 2), 2: (2, 2)}[sampling]
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    with pytest.raises(UserError, match=r"photo.png: not a JPEG file"):
        Jpeg(file=str(tmp_path / "photo.png"))


SAMPLINGS = {"4:4:4": (0x111111, (1, 1)), "4:2:2": (0x211111, (1, 2)), "4:4:0": (0x121111, (2, 1)),
             "4:2:0": (0x221111, (2, 2)), "4:1:1": (0x411111, (1, 4))}  # fmt: skip


def turned_file(path: Path, pixels: np.ndarray, sampling: str, orientation: int) -> Path:
    """Write a JPEG as a camera does: its pixels lie as they are given, and its EXIF says how a viewer shows them."""
    cv2 = pytest.importorskip("cv2")
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[sampling][0], cv2.IMWRITE_JPEG_QUALITY, 40]
    encoded = cv2.imencode(".jpg", pixels[..., ::-1], options)[1].tobytes()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = exif.tobytes()
    path.write_bytes(encoded[:2] + b"\xff\xe1" + (len(data) + 2).to_bytes(2, "big") + data + encoded[2:])
    return path


def residual_of(path: Path, pixels: np.ndarray, orientation: int) -> tuple[float, float]:
    """Return how far the operator is from the file, in grey levels of 255, and how far the file is from the clean image."""
    clean = torch.from_numpy(turned(pixels, orientation).copy()).permute(2, 0, 1)[None].float() / 255
    decoded = read_deep(path)[None]
    return tuple(float((image - decoded).abs().mean() * 255) for image in (Jpeg(file=str(path))(clean), clean))  # type: ignore[return-value]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_phones_file_is_as_an_upright_one(sampling: str, orientation: int, tmp_path: Path) -> None:
    """Blocks, tables and the resolution of colour lie as the file stores them, and the image is shown turned."""
    pixels = skimage.data.astronaut()[96:215, 144:249]  # sides that are no multiples of a block
    upright = turned_file(tmp_path / "upright.jpg", pixels, sampling, 1)
    path = turned_file(tmp_path / "turned.jpg", pixels, sampling, orientation)
    operator = Jpeg(file=str(path))
    assert operator.colour == SAMPLINGS[sampling][1]
    assert operator.grid == max(16, 8 * max(operator.colour))

    residual, loss = residual_of(path, pixels, orientation)
    assert residual < 0.25 * loss
    assert residual == pytest.approx(residual_of(upright, pixels, 1)[0], abs=1e-3)


def test_tiles_of_a_turned_file_see_what_the_whole_sees(tmp_path: Path) -> None:
    """Tiles end as far from the image's end as blocks do, so that they can be turned one by one."""
    exif = Image.Exif()
    exif[0x0112] = 3
    pixels = skimage.data.astronaut()[96:215, 144:249]
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=40, subsampling=2, exif=exif)
    operator = Jpeg(file=str(tmp_path / "a.jpg"))
    image = torch.from_numpy(turned(pixels, 3).copy()).permute(2, 0, 1)[None].float() / 255
    height, width, corners = tile_corners(119, 105, max_pixels=72 * 72, overlap=16, grid=operator.grid)
    assert len(corners) > 1
    whole = operator(image)
    for top, left in corners.tolist():
        tile = operator(image[..., top : top + height, left : left + width])
        inside = slice(24, -24)  # a block that the edge cuts, and colour that is smoothed over its neighbours
        assert (tile - whole[..., top : top + height, left : left + width])[..., inside, inside].abs().max() < 1e-4


def test_the_tables_of_each_component_count(tmp_path: Path) -> None:
    flat, steep = [2] * 64, [2 + 3 * row for row in range(8) for _ in range(8)]  # coarse for details along one axis alone
    pixels = skimage.data.astronaut()[96:224, 144:272]
    Image.fromarray(pixels).save(tmp_path / "a.jpg", qtables=[flat, steep], subsampling=0)
    operator = Jpeg(file=str(tmp_path / "a.jpg"))
    assert [table.flatten().tolist() for table in operator.tables] == [flat, steep, steep]


def test_colours_that_are_not_luma_and_two_differences_are_refused(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16)).save(tmp_path / "cmyk.jpg")
    Image.new("RGB", (16, 16)).save(tmp_path / "rgb.jpg", keep_rgb=True)
    knows = tuple(int(part) for part in PIL.__version__.split(".")[:2]) >= (10, 2)  # keep_rgb; releases before pass over it
    for name in ("cmyk.jpg", "rgb.jpg") if knows else ("cmyk.jpg",):
        with pytest.raises(UserError, match=rf"{name}: a JPEG of \d components that are not luma and colour"):
            Jpeg(file=str(tmp_path / name))
    with pytest.raises(UserError, match="no such file"):
        Jpeg(file=str(tmp_path / "absent.jpg"))


@pytest.mark.parametrize("operator", [Identity(), Downsample(factor=2), Blur(radius=1.0), Jpeg(quality=50)])
def test_gradients_pass(operator: nn.Module) -> None:
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    operator(image).square().sum().backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()
    assert (image.grad != 0).float().mean() > 0.9


@pytest.mark.parametrize("operator", [Downsample(factor=4), Blur(radius=1.0), Jpeg(quality=20)])
def test_a_tile_on_the_grid_sees_what_the_whole_sees(operator: nn.Module) -> None:
    image = torch.rand(1, 3, 96, 96)
    factor = int(operator.factor)  # type: ignore[arg-type]
    whole: Tensor = operator(image)[..., 48 // factor : 80 // factor, 48 // factor : 80 // factor]
    tile: Tensor = operator(image[..., 32:96, 32:96])[..., 16 // factor : 48 // factor, 16 // factor : 48 // factor]
    assert torch.allclose(whole, tile, atol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: Downsample(factor=3), lambda: Downsample(lobes=4), lambda: Blur(radius=0), lambda: Jpeg(quality=0)]
)
def test_options_beyond_reason(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"data\.operator\."):
        make()

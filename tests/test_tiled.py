"""Large images in tiles: the result of the whole, whatever the network's norms, and memory that follows the tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import Tensor, nn

from calotype import tiled
from calotype.data.pairing import Grey, Small
from calotype.models.transform_net import TransformNet
from calotype.models.translation import UNetGenerator
from calotype.tiled import Given, apply_in_tiles, paint, tiles
from calotype.types import UserError
from helpers import LargestTensor

SEAM = 1 / 255


def photo(height: int, width: int, name: str = "astronaut") -> Tensor:
    """A natural photograph, uint8 (3, height, width)."""
    return torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)[:, :height, :width].contiguous()


def lively(network: nn.Module) -> nn.Module:
    """Norms as of a trained network: fresh ones have the same weight in every channel."""
    torch.manual_seed(1)
    for norm in network.modules():
        if isinstance(norm, nn.InstanceNorm2d):
            nn.init.normal_(norm.weight, 1.0, 0.5)
            nn.init.normal_(norm.bias, 0.0, 0.5)
    return network.eval()


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "transform": TransformNet(width=4, blocks=2),
        "unet": UNetGenerator(3, 3, 4, 3, False),
        "residual": UNetGenerator(3, 3, 4, 2, True),
    }


def in_tiles(network: nn.Module, given: Given, tile_pixels: int) -> Tensor:
    result = torch.full((1, 3, given.height, given.width), torch.nan)

    def put(part: Tensor, top: int, left: int) -> None:
        result[..., top : top + part.shape[2], left : left + part.shape[3]] = part

    with torch.no_grad():
        apply_in_tiles(network, given, put, tile_pixels=tile_pixels)
    return result


@pytest.mark.parametrize("name", ["transform", "unet", "residual"])
@pytest.mark.parametrize(("height", "width"), [(203, 270), (64, 400), (300, 61)])
def test_tiles_give_what_the_whole_gives(name: str, height: int, width: int) -> None:
    network = lively(networks()[name])
    if name == "residual":
        nn.init.normal_(network.last.weight, 0, 0.1)  # it starts as the input
    given = Given(photo(height, width))
    with torch.no_grad():
        whole = network(given.whole())
    apart = (in_tiles(network, given, 80 * 80) - whole).abs().max()
    assert apart < 1e-4  # far below a grey level: only sums are taken in another order
    assert whole.std() > 0.01


@pytest.mark.parametrize("name", ["transform", "unet"])
def test_statistics_of_a_tile_alone_would_show(name: str) -> None:
    """What the test above would not see if the networks did not depend on the whole image."""
    network = lively(networks()[name])
    image = Given(photo(256, 256)).whole()
    with torch.no_grad():
        whole, part = network(image), network(image[..., :128, :128])
    assert (whole[..., :64, :64] - part[..., :64, :64]).abs().max() > 2 * SEAM


def test_stages_in_turn_are_the_network_and_leave_it_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    network = lively(networks()["transform"])
    given = Given(photo(120, 160))
    x = given.whole()
    with torch.no_grad():
        expected = network(x)
        for stage in network.stages():
            x = stage.module(x)
        assert torch.equal(x, expected)
        in_tiles(network, given, 64 * 64)
        assert torch.equal(network(given.whole()), expected)
        monkeypatch.setattr(tiled, "KEPT_BYTES", 0)  # as for an image whose cells are too many to be kept
        assert (in_tiles(network, given, 84 * 84) - expected).abs().max() < 1e-4
    assert not any("forward" in norm.__dict__ for norm in network.modules())


@pytest.mark.parametrize("name", ["transform", "unet", "residual"])
def test_reach_is_enough_and_not_wasteful(name: str) -> None:
    """With fixed norms, an output depends on nothing beyond the reach; half of it would not do."""
    network = networks()[name].double()
    if name == "residual":
        nn.init.normal_(network.last.weight, 0, 0.1)
    for norm in [m for m in network.modules() if isinstance(m, nn.InstanceNorm2d)]:
        norm.forward = lambda x: x  # type: ignore[method-assign]
    reach = sum(stage.reach for stage in network.stages())
    side = 2 * reach + 64
    image = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    core = slice(reach + 32 - network.grid, reach + 32)
    torch.manual_seed(0)
    result = network.stages()[0].module(image) if len(network.stages()) == 1 else network.layers(image).sigmoid()
    (result[..., core, core] * torch.rand(network.grid, network.grid)).sum().backward()
    assert image.grad is not None
    felt = (image.grad[0].abs().amax(0).amax(1) > 0).nonzero()[:, 0]
    assert felt.min() >= core.start - reach
    assert felt.max() < core.stop + reach
    assert core.start - int(felt.min()) > reach / 2


def test_memory_follows_the_tile_and_not_the_image() -> None:
    network = lively(networks()["unet"])
    for side in (256, 512):
        given = Given(photo(side, side))
        with LargestTensor() as largest, torch.no_grad():
            apply_in_tiles(network, given, lambda *_: None, tile_pixels=96 * 96)
        assert largest.numel <= 12 * 96 * 96  # 12 channels at full size, where a skip joins
    with LargestTensor() as largest, torch.no_grad():
        network(Given(photo(512, 512)).whole())
    assert largest.numel >= 12 * 512 * 512


@pytest.mark.parametrize(("height", "width"), [(400, 640), (32, 4000), (4000, 32), (8, 100_000)])
def test_cores_cover_once_and_tiles_are_no_larger_than_asked(height: int, width: int) -> None:
    times = torch.zeros(height, width, dtype=torch.int64)
    for tile in tiles(height, width, 16, 8, 72 * 72):
        times[slice(*tile.core_rows), slice(*tile.core_columns)] += 1
        assert (tile.rows[1] - tile.rows[0]) * (tile.columns[1] - tile.columns[0]) <= 72 * 72
        for core, around, whole in ((tile.core_rows, tile.rows, height), (tile.core_columns, tile.columns, width)):
            assert around == (max(0, core[0] - 16), min(whole, core[1] + 16))
            assert core[0] % 8 == core[1] % 8 == 0
    assert (times == 1).all()


@pytest.mark.parametrize("pair", [Grey(), Small(factor=2), Small(factor=4)])
def test_given_window_by_window_is_given_whole(pair: Grey | Small) -> None:
    pixels = photo(40, 56)
    given = Given.by_pair(pixels, pair)
    whole = pair.given(pixels[None].float() / 255)
    assert (given.height, given.width) == tuple(whole.shape[2:])
    torch.testing.assert_close(given.whole(), whole)
    for rows, columns in (((0, 8), (5, 30)), ((9, 40), (0, 56)), ((13, 14), (55, 56))):
        torch.testing.assert_close(given.read(rows, columns), whole[..., slice(*rows), slice(*columns)], atol=1e-5, rtol=0)


def test_a_pair_that_does_not_say_that_it_is_local_is_given_whole() -> None:
    class Mean:
        def given(self, image: Tensor) -> Tensor:
            return image - image.mean()

    pixels = photo(20, 30)
    whole = pixels[None].float() / 255
    assert torch.equal(Given.by_pair(pixels, Mean()).read((3, 9), (4, 8)), (whole - whole.mean())[..., 3:9, 4:8])


def test_written_file_is_the_same_in_tiles(tmp_path: Path) -> None:
    network = lively(networks()["transform"])
    for name, pixels in (("whole", 10**6), ("tiles", 64 * 64)):
        paint(network, network, Given(photo(150, 170)), tmp_path / f"{name}.png", tile_pixels=pixels)
    whole, tiled_ = (np.array(Image.open(tmp_path / f"{name}.png")).astype(int) for name in ("whole", "tiles"))
    assert whole.shape == (150, 170, 3)
    assert np.abs(whole - tiled_).max() <= 1
    with torch.no_grad():
        expected = (network(Given(photo(150, 170)).whole())[0] * 255).round().permute(1, 2, 0)
    assert np.array_equal(whole, expected.numpy())
    with pytest.raises(UserError, match=r"--tile-pixels 100: at least 400 for this network and an image of 170x150"):
        paint(network, network, Given(photo(150, 170)), tmp_path / "no.png", tile_pixels=100)
    with pytest.raises(UserError, match=r"--tile-pixels 0: at least 1"):
        paint(network, network, Given(photo(150, 170)), tmp_path / "no.png", tile_pixels=0)
    assert not (tmp_path / "no.png").exists()


def test_a_network_without_stages_is_applied_whole(tmp_path: Path) -> None:
    network = nn.Identity()
    paint(network, network, Given(photo(30, 20)), tmp_path / "a.png", tile_pixels=1)
    assert np.array_equal(np.array(Image.open(tmp_path / "a.png")), photo(30, 20).permute(1, 2, 0).numpy())

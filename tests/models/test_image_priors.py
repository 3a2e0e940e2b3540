"""The networks of task dip: sizes, parameters, and what they are fed."""

from __future__ import annotations

import pytest
import torch

from calotype.models.deep_decoder import DeepDecoder
from calotype.models.hourglass import Hourglass
from calotype.models.unet import UNet


def test_the_authors_denoiser() -> None:
    """5 levels of 128, skips of 4, a latent of 32: the published code has 2,217,831 parameters."""
    network = Hourglass((3, 512, 512))
    assert sum(p.numel() for p in network.parameters()) == 2_217_831
    assert network.latent.shape == (1, 32, 512, 512)
    assert 0 <= network.latent.min() < 0.001
    assert 0.099 < network.latent.max() <= 0.1


@pytest.mark.parametrize("size", [(64, 64), (33, 70), (16, 17), (100, 31)])
@pytest.mark.parametrize(
    "make",
    [
        lambda shape: Hourglass(shape, channels=(8, 8, 8), skip_channels=0, upsampling="nearest", latent="meshgrid"),
        lambda shape: Hourglass(shape, channels=(4, 8), skip_channels=(0, 3), kernel_down=5, padding="zeros"),
        lambda shape: UNet(shape, channels=(4, 8, 8), latent_channels=5),
        lambda shape: DeepDecoder(shape, channels=8, layers=3),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size(make, size: tuple[int, int], channels: int) -> None:  # type: ignore[no-untyped-def]
    network = make((channels, *size))
    image = network(network.latent)
    assert image.shape == (1, channels, *size)
    assert image.dtype == torch.float32
    assert ((image > 0) & (image < 1)).all()
    image.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_without_skips_the_latent_reaches_the_output_through_the_bottom_alone() -> None:
    network = Hourglass((1, 32, 32), channels=(4, 4), skip_channels=0).eval()
    assert not any(".skip" in name for name, _ in network.named_parameters())


def test_meshgrid_holds_the_coordinates() -> None:
    latent = Hourglass((1, 4, 8), channels=(4,), latent="meshgrid").latent
    assert latent.shape == (1, 2, 4, 8)
    assert latent[0, 0, :, 3].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert latent[0, 1, 2, 0] == 0
    assert latent[0, 1, 2, -1] == 1


def test_skip_channels_for_every_level() -> None:
    with pytest.raises(ValueError, match="skip_channels"):
        Hourglass((1, 32, 32), channels=(4, 4, 4), skip_channels=(1, 2))

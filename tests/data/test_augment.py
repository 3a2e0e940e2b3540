from __future__ import annotations

import math

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from calotype.data.augment import Augment, warp
from calotype.types import UserError


@pytest.fixture
def images() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(64, 3, 12, 16)


def test_off_by_default(images: torch.Tensor) -> None:
    assert torch.equal(Augment()(images), images)


@pytest.mark.parametrize(
    "options",
    [{"flip": 0.5}, {"rotate": 20}, {"translate": 0.1}, {"scale": 0.2}, {"brightness": 0.3}, {"contrast": 0.3}, {"erase": 1}],
)
def test_every_image_draws_its_own_and_the_seed_decides(images: torch.Tensor, options: dict) -> None:
    same = images[:1].expand(64, -1, -1, -1)
    torch.manual_seed(1)
    out = Augment(**options)(same)
    assert out.shape == same.shape
    assert out.min() >= 0
    assert out.max() <= 1
    assert len({tuple(image.flatten().tolist()) for image in out}) >= 2
    torch.manual_seed(1)
    assert torch.equal(Augment(**options)(same), out)


def test_flip_mirrors_about_half(images: torch.Tensor) -> None:
    out = Augment(flip=0.5)(images)
    mirrored = torch.tensor([torch.equal(a, b.flip(-1)) for a, b in zip(out, images, strict=True)])
    assert 16 < mirrored.sum() < 48
    assert torch.equal(out[~mirrored], images[~mirrored])
    assert torch.allclose(Augment(flip=1, scale=1e-9)(images), images.flip(-1), atol=1e-5)


def test_turn_is_torchvisions(images: torch.Tensor) -> None:
    """On an image that is not square: the turn is in pixels."""
    augment = Augment(rotate=30)
    augment._uniform = lambda images, name, columns=1: torch.full(  # type: ignore[method-assign]
        (len(images), columns), {"rotate": 30.0}.get(name, 0.0)
    )
    centre = (slice(None), slice(None), slice(4, 8), slice(5, 11))  # away from the edge, which is continued here
    wanted = F.rotate(images, 30, InterpolationMode.BILINEAR)
    assert torch.allclose(warp(images, augment._matrices(images))[centre], wanted[centre], atol=1e-3)


def test_shift_is_a_share_of_the_side(images: torch.Tensor) -> None:
    matrices = torch.eye(2, 3).repeat(64, 1, 1)
    matrices[:, 0, 2] = 2 * 0.25  # a quarter of 16 pixels
    assert torch.allclose(warp(images, matrices)[..., :12], images[..., 4:], atol=1e-5)


def test_ranges(images: torch.Tensor) -> None:
    flat = torch.full((500, 1, 4, 4), 0.5)
    bright = Augment(brightness=0.2)(flat)[:, 0, 0, 0] / 0.5
    assert 0.8 <= bright.min() < 0.82
    assert 1.18 < bright.max() <= 1.2
    angles = Augment(rotate=10)._matrices(flat)
    assert torch.atan2(angles[:, 1, 0], angles[:, 1, 1]).abs().max() <= 10 * math.pi / 180 + 1e-6


def test_erased_share(images: torch.Tensor) -> None:
    big = torch.rand(200, 1, 50, 50)
    changed = (Augment(erase=1)(big) != big).flatten(1).float().mean(1)
    assert changed.max() <= 0.22
    assert changed.min() > 0.005


@pytest.mark.parametrize("options", [{"flip": 1.5}, {"rotate": -1}, {"scale": 1.0}])
def test_refuses(options: dict) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Augment(**options)

"""Generators and discriminators: sizes, ranges, conditioning, packing, and the normalisation that is promised."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from calotype.models.dcgan import DCGAN, SelfAttention
from calotype.models.mlp_gan import MLPGAN
from calotype.types import UserError

SMALL = {"latent_size": 6, "width": 4}


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (1, 32, 32), (3, 64, 64), (1, 112, 92), (3, 36, 20), (1, 128, 128)])
def test_any_size_that_is_a_multiple_of_4(shape: tuple[int, int, int]) -> None:
    model = DCGAN(shape, **SMALL)  # type: ignore[arg-type]
    images = model(torch.randn(3, 6))
    assert images.shape == (3, *shape)
    assert 0 <= images.min() <= images.max() <= 1
    assert model.discriminator(images).shape == (3,)


@pytest.mark.parametrize("shape", [(1, 30, 28), (1, 28, 27), (2,)])
def test_other_sizes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="multiples of 4"):
        DCGAN(shape)  # type: ignore[arg-type]


def test_depth_follows_the_size() -> None:
    """28 is made from 7, 64 from 4, 256 from 16: four halvings at most."""
    starts = {side: DCGAN((1, side, side), **SMALL).generator.start[1] for side in (8, 12, 28, 64, 256)}  # type: ignore[arg-type]
    assert starts == {8: 4, 12: 6, 28: 7, 64: 4, 256: 16}


@pytest.mark.parametrize("condition", ["projection", "concatenation"])
def test_the_class_reaches_both(condition: str) -> None:
    torch.manual_seed(0)
    model = DCGAN((1, 8, 8), 5, condition=condition, **SMALL).eval()  # type: ignore[arg-type]
    latent = torch.randn(1, 6).expand(2, -1)
    images = model(latent, torch.tensor([0, 3]))
    assert not torch.equal(images[0], images[1])
    same = images[:1].expand(2, -1, -1, -1)
    logits = model.discriminator(same, torch.tensor([0, 3]))
    assert logits[0] != logits[1]
    twice = model.discriminator(same, torch.tensor([3, 3]))
    assert torch.allclose(twice[0], twice[1], atol=1e-6)


def test_mlp_classes_and_scale() -> None:
    torch.manual_seed(0)
    model = MLPGAN((2,), 3, scale=4.0, latent_size=2, widths=(8,))
    latent = torch.randn(1, 2).expand(2, -1)
    points = model(latent, torch.tensor([0, 1]))
    assert points.shape == (2, 2)
    assert not torch.equal(points[0], points[1])
    plain = MLPGAN((2,), latent_size=2, widths=(8,))
    scaled = MLPGAN((2,), latent_size=2, widths=(8,), scale=4.0)
    scaled.load_state_dict(plain.state_dict())
    assert torch.allclose(scaled(latent), 4 * plain(latent))
    assert torch.allclose(scaled.discriminator(4 * points), plain.discriminator(points))
    assert MLPGAN((1, 4, 4), widths=(8,))(torch.randn(5, 16)).min() >= 0


def test_packed_discriminators_take_so_many_channels() -> None:
    assert DCGAN((3, 8, 8), 0, 2, **SMALL).discriminator(torch.rand(5, 6, 8, 8)).shape == (5,)  # type: ignore[arg-type]
    assert MLPGAN((2,), 0, 4).discriminator(torch.rand(5, 8)).shape == (5,)


def test_spectral_norm_bounds_every_layer() -> None:
    torch.manual_seed(0)
    model = DCGAN((1, 8, 8), spectral_norm="discriminator", norm="none", **SMALL)  # type: ignore[arg-type]
    for _ in range(50):
        model.discriminator(torch.rand(4, 1, 8, 8))
    layers = [m for m in model.discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item() == pytest.approx(1, abs=0.05)
    assert len(layers) == 2
    assert not any("parametrizations" in name for name, _ in model.generator.named_modules())


def test_self_attention_against_a_loop() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(8)
    x = torch.randn(2, 8, 3, 4)
    assert torch.equal(layer(x), x)  # gamma starts at 0
    nn.init.constant_(layer.gamma, 0.7)
    query, key, value = (f(x).flatten(2) for f in (layer.query, layer.key, layer.value))
    want = torch.empty(2, 4, 12)
    for n in range(2):
        for j in range(12):
            weight = torch.stack([key[n, :, i] @ query[n, :, j] for i in range(12)]).softmax(0)
            want[n, :, j] = sum(weight[i] * value[n, :, i] for i in range(12))
    want = x + 0.7 * layer.out(want.view(2, 4, 3, 4))
    assert torch.allclose(layer(x), want, atol=1e-5)


@pytest.mark.parametrize("options", [{"latent_size": 0}, {"widths": ()}, {"scale": 0.0}])
def test_mlp_options_beyond_reason(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match="model"):
        MLPGAN((2,), **options)  # type: ignore[arg-type]

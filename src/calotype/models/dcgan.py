"""A convolutional generator and the discriminator that it plays against, for images of any size that is a multiple of 4."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm as spectral

from calotype.ranges import Positive
from calotype.types import Generated, ImageShape, UserError

MOST_HALVINGS = 4
SMALLEST = 4  # pixels a side that the discriminator ends at, or fewer: one that sees only parts lets parts that do not go together pass


class DCGAN(nn.Module):
    """Strided convolutions with BatchNorm (Radford et al., 2016); with `attention` and `spectral_norm` after SAGAN (Zhang et al., 2019).

    The generator doubles the sides from where they can no longer be halved, four times at most: 28x28 is made from 7x7, 64x64 from 4x4. The
    discriminator halves them to 4 or fewer. Channels are doubled with every halving, to eight times as many at most.

    Args:
        image_shape: (channels, height, width); height and width multiples of 4.
        num_classes: K that the game is conditioned on, 0 for none.
        pack: images that the discriminator judges together, as channels (PacGAN).
        latent_size: Z.
        width: channels of the discriminator's first layer, and before the last layer of the generator.
        norm: of the discriminator: batch, or none.
        spectral_norm: hold the largest singular value of every layer at 1: of the discriminator, or of both.
        attention: a self-attention layer in both, one halving below the full size.
        condition: how the discriminator is told the class: projection (Miyato and Koyama, 2018), or concatenation of its one-hot maps.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int = 0,
        pack: Positive = 1,
        *,
        latent_size: Positive = 128,
        width: Positive = 64,
        norm: Literal["batch", "none"] = "batch",
        spectral_norm: Literal["none", "discriminator", "both"] = "none",
        attention: bool = False,
        condition: Literal["projection", "concatenation"] = "projection",
    ) -> None:
        super().__init__()
        if len(image_shape) != 3 or image_shape[1] % 4 or image_shape[2] % 4:
            raise UserError(
                f"model: this generator makes images whose sides are multiples of 4, not {' x '.join(map(str, image_shape))}; "
                "set data.preprocess.size, or choose model=gan/mlp_gan"
            )
        if latent_size < 1 or width < 1:
            raise UserError(f"model.latent_size={latent_size}, model.width={width}: at least 1")
        self.latent_size = latent_size
        self.num_classes = num_classes
        self.generator = Generator(image_shape, num_classes, latent_size, width, attention)
        self.discriminator = Discriminator(image_shape, num_classes, pack, width, norm, attention, condition)
        for network in (self.generator, self.discriminator):
            for layer in network.modules():
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                    nn.init.normal_(layer.weight, 0, 0.02)
        for name, network in (("generator", self.generator), ("discriminator", self.discriminator)):
            if spectral_norm in (name, "both"):
                for layer in network.modules():
                    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
                        spectral(layer)

    def forward(self, latent: Tensor, labels: Tensor | None = None) -> Generated:
        return self.generator(latent, labels)


class Generator(nn.Module):
    """Latents (N, Z), labels (N,) -> images (N, C, H, W) in [0, 1]."""

    def __init__(self, image_shape: ImageShape, num_classes: int, latent_size: int, width: int, attention: bool) -> None:
        super().__init__()
        channels, height, w = image_shape
        halvings = _halvings(image_shape)
        sizes = [_channels(width, i) for i in reversed(range(halvings + 1))]
        self.start = (sizes[0], height >> halvings, w >> halvings)
        self.embedding = nn.Embedding(num_classes, 64) if num_classes else None
        if self.embedding is not None:  # small beside the latent, or images of a class come out alike
            nn.init.normal_(self.embedding.weight, 0, 0.2)
        inputs = latent_size + (64 if num_classes else 0)
        self.first = nn.Linear(inputs, self.start[0] * self.start[1] * self.start[2], bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(sizes[0]), nn.ReLU(inplace=True)]
        for i, (before, after) in enumerate(pairwise(sizes)):
            if attention and i == halvings - 1:
                layers.append(SelfAttention(before))
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, 1, 1))

    def forward(self, latent: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.embedding is not None:
            assert labels is not None
            latent = torch.cat([latent, self.embedding(labels).to(latent.dtype)], 1)
        x = self.first(latent).view(-1, *self.start)
        return (self.layers(x).float().tanh() + 1) / 2


class Discriminator(nn.Module):
    """Images (N, pack C, H, W) in [0, 1], labels (N,) -> logits (N,), which are above 0 for what is held to be real."""

    def __init__(
        self, image_shape: ImageShape, num_classes: int, pack: int, width: int, norm: str, attention: bool, condition: str
    ) -> None:
        super().__init__()
        channels, height, w = image_shape
        self.maps = num_classes if condition == "concatenation" else 0
        layers: list[nn.Module] = []
        before = channels * pack + self.maps
        i = 0
        while i == 0 or (min(height, w) > SMALLEST and i <= MOST_HALVINGS):
            after = _channels(width, i)
            layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=norm == "none" or i == 0))
            if norm == "batch" and i:  # not in the first layer, whose statistics are the image's own
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            if attention and i == 0:
                layers.append(SelfAttention(after))
            before, height, w = after, height // 2, w // 2
            i += 1
        self.layers = nn.Sequential(*layers)
        features = before * height * w
        self.last = nn.Linear(features, 1)
        self.embedding = nn.Embedding(num_classes, features) if num_classes and not self.maps else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, 0, 0.02)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        x = images * 2 - 1
        if self.maps:
            assert labels is not None
            maps = F.one_hot(labels, self.maps).to(x)[:, :, None, None]
            x = torch.cat([x, maps.expand(-1, -1, *x.shape[2:])], 1)
        features = self.layers(x).flatten(1)
        logits = self.last(features)[:, 0]
        if self.embedding is not None:
            assert labels is not None
            logits = logits + (self.embedding(labels).to(features.dtype) * features).sum(1)
        return logits.float()


class SelfAttention(nn.Module):
    """x + gamma attention(x) over all positions, gamma learned from 0 (Zhang et al., 2019, eq. 1 to 3). Shapes: (N, C, H, W) kept."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 8)
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, max(1, channels // 2), 1)
        self.out = nn.Conv2d(max(1, channels // 2), channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (layer(x).flatten(2).transpose(1, 2) for layer in (self.query, self.key, self.value))
        # scale 1: the paper does not divide by the root of the depth
        seen = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return x + self.gamma * self.out(seen.transpose(1, 2).reshape(len(x), -1, *x.shape[2:]))


def _channels(width: int, halvings: int) -> int:
    """At a size: twice as many with every halving, eight times at most."""
    return width * min(8, 2**halvings)


def _halvings(image_shape: ImageShape) -> int:
    """How often both sides can be halved, down to 4 at least."""
    sides = image_shape[1:]
    count = 0
    while count < MOST_HALVINGS and all((side >> count) % 2 == 0 and side >> count >= 8 for side in sides):
        count += 1
    return max(1, count)

"""Exact likelihoods of images whose pixels have so many levels, and draws from the same distributions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.ranges import Two
from calotype.types import UserError


class CrossEntropy(nn.Module):
    """-log p of every pixel's level, by logits.

    Shapes: logits (N, L, C, H, W), images (N, C, H, W) in [0, 1] at levels k / (L - 1) -> nats of each image (N,).
    """

    takes = "logits"

    def __init__(self, *, levels: Two) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, predicted: Tensor, images: Tensor) -> Tensor:
        return F.cross_entropy(predicted, to_levels(images, self.levels), reduction="none").flatten(1).sum(1)

    @staticmethod
    def draws(channels: int) -> int:
        """Even numbers in [0, 1) that a pixel takes."""
        return channels

    def draw(self, predicted: Tensor, given: Tensor, uniform: Tensor, colour: int, temperature: float) -> Tensor:
        """A pixel's colour by inversion, (N, C) in [0, 1], of which its column counts: logits (N, L, C), even numbers in [0, 1) (N, C)."""
        level = _choose(predicted[:, :, colour], uniform[:, colour], temperature)
        return (level.to(given.dtype) / (self.levels - 1))[:, None].expand_as(given)


class LogisticMixture(nn.Module):
    """-log p of whole pixels by mixtures of logistics, cut at the levels' borders (Salimans et al., 2017, "PixelCNN++", section 2.1).

    Parameters (N, M, H, W) of K logistics and C colours, in this order: K logits, C K means, C K log scales, and C (C - 1) / 2 K slopes, by
    which the mean of G follows R and that of B follows R and G.

    Shapes: parameters, images (N, C, H, W) in [0, 1] at levels k / (L - 1) -> nats of each image (N,).
    """

    takes = "mixture"

    def __init__(self, *, levels: Two) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, predicted: Tensor, images: Tensor) -> Tensor:
        logits, means, scales, slopes = self._parts(predicted, images.shape[1])
        x = images * 2 - 1
        means = _follow(means, slopes, x)
        centred = x[:, :, None] - means  # (N, C, K, H, W)
        inverse = torch.exp(-scales)
        half = 1 / (self.levels - 1)  # half the distance of two levels, in [-1, 1]
        above, below = inverse * (centred + half), inverse * (centred - half)
        # The lowest level takes all that is left of it, the highest all that is right.
        lowest, highest = (x < -1 + half)[:, :, None], (x > 1 - half)[:, :, None]
        inside = torch.log((torch.sigmoid(above) - torch.sigmoid(below)).clamp(min=1e-12))
        # Where the two differ by less than can be told, the density at the middle times the width.
        middle = inverse * centred
        thin = middle - scales - 2 * F.softplus(middle) + torch.log(torch.tensor(2 * half))
        inside = torch.where(torch.sigmoid(above) - torch.sigmoid(below) > 1e-5, inside, thin)
        each = torch.where(lowest, F.logsigmoid(above), torch.where(highest, F.logsigmoid(-below), inside))
        return -torch.logsumexp(each.sum(1) + logits.log_softmax(1), 1).flatten(1).sum(1)

    @staticmethod
    def draws(channels: int) -> int:
        """Even numbers in [0, 1) that a pixel takes: which logistic, and one for each colour."""
        return channels + 1

    def draw(self, predicted: Tensor, given: Tensor, uniform: Tensor, colour: int, temperature: float) -> Tensor:
        """All colours of a pixel (N, C) in [0, 1]; those that are given (not NaN) stay and steer the others."""
        channels = given.shape[1]
        logits, means, scales, slopes = (part[..., 0, 0] for part in self._parts(predicted[:, :, None, None], channels))
        # What is given tells which logistic it came from.
        which = _choose(logits, uniform[:, 0], temperature)
        chosen = which[:, None, None].expand(-1, channels, 1)
        means, scales = means.gather(2, chosen)[..., 0], scales.gather(2, chosen)[..., 0]
        slopes = slopes.gather(2, which[:, None, None].expand(-1, slopes.shape[1], 1))[..., 0] if slopes.shape[1] else slopes[..., 0]
        u = uniform[:, 1:].clamp(1e-5, 1 - 1e-5)
        noise = temperature * scales.exp() * (torch.log(u) - torch.log1p(-u)).to(scales.dtype)
        drawn: list[Tensor] = []
        pair = 0
        for c in range(channels):
            mean = means[:, c]
            for before in range(c):
                mean = mean + slopes[:, pair] * (drawn[before] * 2 - 1)
                pair += 1
            value = ((mean + noise[:, c] + 1) / 2).clamp(0, 1)
            value = torch.round(value * (self.levels - 1)) / (self.levels - 1)
            drawn.append(torch.where(given[:, c].isnan(), value, given[:, c]))
        return torch.stack(drawn, 1)

    def _parts(self, predicted: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, K, H, W), (N, C, K, H, W) means and log scales, (N, C (C - 1) / 2, K, H, W) slopes in [-1, 1]."""
        n, m, height, width = predicted.shape
        pairs = channels * (channels - 1) // 2
        k = m // (1 + 2 * channels + pairs)
        if k * (1 + 2 * channels + pairs) != m:
            raise UserError(f"loss: {m} parameters of a pixel are no mixture for {channels} colours")
        logits, means, scales, slopes = predicted.float().split([k, k * channels, k * channels, k * pairs], 1)
        shape = (n, -1, k, height, width)
        return (
            logits,
            means.reshape(shape),
            scales.reshape(shape).clamp(min=-7),
            torch.tanh(slopes.reshape(shape if pairs else (n, 0, k, height, width))),
        )


def _choose(logits: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """One of K by inversion, or the likeliest at temperature 0: logits (N, K), even numbers in [0, 1) (N,) -> (N,)."""
    if temperature == 0:
        return logits.argmax(1)
    share = (logits.double() / temperature).softmax(1).cumsum(1)
    return (share[:, :-1] < uniform[:, None]).sum(1)


def _follow(means: Tensor, slopes: Tensor, x: Tensor) -> Tensor:
    """Means (N, C, K, H, W) moved by the colours before, x (N, C, H, W) in [-1, 1]."""
    moved, pair = [], 0
    for c in range(means.shape[1]):
        mean = means[:, c]
        for before in range(c):
            mean = mean + slopes[:, pair] * x[:, before, None]
            pair += 1
        moved.append(mean)
    return torch.stack(moved, 1)


def to_levels(images: Tensor, levels: int) -> Tensor:
    """[0, 1] -> int64 0 to levels - 1, the nearest."""
    return torch.round(images * (levels - 1)).long()

"""How far the statistics of one picture's features are from another's: what is called style; and the content loss beside it."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

Statistics = dict[str, Tensor]
TINY = 1e-12


class Gram(nn.Module):
    """Squared distance of Gram matrices (Gatys et al., "Image Style Transfer Using Convolutional Neural Networks", 2016).

    Args:
        normalise: energy divides by the squared norm of the style's Gram matrix, so that layers and networks weigh alike; elements is the
            paper's |F F^T - A A^T|^2 / (2 n_C n_H n_W)^2 for a style of the same size, and comparable for any other, since Gram
            matrices are means over positions here.

    Shapes: a feature map (1, C, H, W), and a mask (1, 1, H, W) of how much each position counts, or none -> statistics {gram: (C, C)}.
    The distance of two statistics is a number.
    """

    def __init__(self, *, normalise: Literal["energy", "elements"] = "energy") -> None:
        super().__init__()
        self.normalise = normalise

    def statistics(self, features: Tensor, mask: Tensor | None = None) -> Statistics:
        if mask is None:
            x: Tensor = features[0].flatten(1)
            gram: Tensor = _MeanProduct.apply(x)
            return {"gram": gram}
        return {"gram": _outer(*_positions(features, mask))}

    def forward(self, found: Statistics, wanted: Statistics) -> Tensor:
        squared = (found["gram"] - wanted["gram"]).square().sum()
        if self.normalise == "energy":
            return squared / (wanted["gram"].square().sum() + TINY)
        return squared / (4 * len(wanted["gram"]) ** 2)


class Wasserstein(nn.Module):
    """Squared 2-Wasserstein distance of the normal distributions with the features' means and covariances, over the style's energy.

        |m - n|^2 + tr(S + T - 2 (T^1/2 S T^1/2)^1/2), over |n|^2 + tr T

    Only eigenvalues are differentiated, which equal ones do not upset. Shapes: as `Gram`, with statistics mean (C,), covariance (C, C).
    """

    def statistics(self, features: Tensor, mask: Tensor | None = None) -> Statistics:
        x, weight = _positions(features, mask)
        mean = _mean(x, weight)
        return {"mean": mean, "covariance": _outer(x - mean[:, None], weight)}

    def forward(self, found: Statistics, wanted: Statistics) -> Tensor:
        covariance = wanted["covariance"].double()
        values, vectors = torch.linalg.eigh(covariance)
        root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        inner = root @ found["covariance"].double() @ root
        # Below the smallest value kept, the square root's slope would be unbounded.
        shared = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=1e-10 * values[-1].clamp(min=TINY) ** 2).sqrt().sum()
        apart = found["covariance"].diagonal().sum() + covariance.diagonal().sum() - 2 * shared
        energy = wanted["mean"].square().sum() + covariance.diagonal().sum() + TINY
        return (((found["mean"] - wanted["mean"]).square().sum() + apart.clamp(min=0)) / energy).float()


class AdaIN(nn.Module):
    """Squared distance of the features' means and standard deviations (Huang and Belongie, 2017), over the style's energy.

    Shapes: as `Gram`, with statistics mean, deviation (C,).
    """

    def statistics(self, features: Tensor, mask: Tensor | None = None) -> Statistics:
        x, weight = _positions(features, mask)
        mean = _mean(x, weight)
        variance = _mean((x - mean[:, None]).square(), weight)
        return {"mean": mean, "deviation": (variance + 1e-8).sqrt()}

    def forward(self, found: Statistics, wanted: Statistics) -> Tensor:
        squared = sum((found[name] - wanted[name]).square().sum() for name in ("mean", "deviation"))
        energy = sum(wanted[name].square().sum() for name in ("mean", "deviation"))
        assert isinstance(squared, Tensor)
        return squared / (energy + TINY)


def content_distance(found: Tensor, wanted: Tensor, *, normalise: bool = True) -> Tensor:
    """1/2 |a(G) - a(C)|^2 of feature maps (N, C, H, W), over |a(C)|^2 where normalised, so that layers and networks weigh alike."""
    squared = 0.5 * (found.float() - wanted.float()).square().sum()
    return squared / (wanted.float().square().sum() + TINY) if normalise else squared


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels of (N, C, H, W), down and across; 0 where there is no neighbour."""
    differences = (images.diff(dim=2), images.diff(dim=3))
    return sum((d.square().mean() for d in differences if d.numel()), start=images.new_zeros(()))


class _MeanProduct(torch.autograd.Function):
    """x x^T / P of (C, P), in single precision.

    Its slope (g + g^T) x / P takes one product where autograd takes two, a cheap one where features are bfloat16 and slopes are
    rounded anyway.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        y = x.float()
        return y @ y.T / y.shape[1]

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        both = (slopes[0] + slopes[0].T) / x.shape[1]
        return both.bfloat16() @ x if x.dtype is torch.bfloat16 else (both @ x.float()).to(x.dtype)


def _positions(features: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """(1, C, H, W) -> float32 (C, H W), and weights (H W,) that sum to 1 where there is a mask."""
    x = features[0].flatten(1).float()
    if mask is None:
        return x, None
    weight = mask[0].flatten().float()
    return x, weight / (weight.sum() + TINY)


def _mean(x: Tensor, weight: Tensor | None) -> Tensor:
    return x.mean(1) if weight is None else x @ weight


def _outer(x: Tensor, weight: Tensor | None) -> Tensor:
    """The mean over positions of x x^T: (C, H W) -> (C, C)."""
    return x @ x.T / x.shape[1] if weight is None else (x * weight) @ x.T

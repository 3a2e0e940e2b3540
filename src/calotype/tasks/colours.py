"""Whose colours a picture has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from calotype.metrics.style import luma


def with_colours_of(image: Tensor, styles: Sequence[Tensor], weights: Tensor) -> Tensor:
    """An image (1, 3, H, W) in [0, 1] whose colours have the mean and the covariance of those of the styles (1, 3, h, w), weights (S,).

    The weights sum to 1. The linear map between the two normal distributions that moves colours least (Pitie and Kokaram, 2007):
    A = S^-1/2 (S^1/2 T S^1/2)^1/2 S^-1/2. What leaves [0, 1] is cut. A colour that the image does not vary in stays as it is.
    """
    x = image[0].flatten(1).double()
    mean, covariance = x.mean(1), _covariance(x)
    parts = [style[0].flatten(1).double() for style in styles]
    shares = weights.double().to(x.device)
    wanted = sum((w * y.mean(1) for w, y in zip(shares, parts, strict=True)), start=torch.zeros_like(mean))
    second = sum((w * (y @ y.T / y.shape[1]) for w, y in zip(shares, parts, strict=True)), start=torch.zeros_like(covariance))
    target = second - wanted[:, None] * wanted[None]
    root, inverse = _roots(covariance)
    across, _ = _roots(root @ target @ root)
    moved = inverse @ across @ inverse @ (x - mean[:, None]) + wanted[:, None]
    return moved.to(image.dtype).view_as(image).clamp(0, 1)


def with_chroma_of(image: Tensor, content: Tensor) -> Tensor:
    """The luma of one image and the chroma of another, (1, 3, H, W) each (Gatys et al., "Preserving color in neural style transfer")."""
    return (luma(image) + content - luma(content)).clamp(0, 1)


def _covariance(x: Tensor) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    return centred @ centred.T / x.shape[1]


def _roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The square root of a symmetric matrix, and its inverse, 0 where the matrix is (nearly) singular."""
    values, vectors = torch.linalg.eigh(matrix)
    large = values > max(1e-9 * float(values[-1]), 1e-15)
    root = torch.where(large, values, 0).sqrt()
    return (vectors * root) @ vectors.T, (vectors * torch.where(large, 1 / root.clamp(min=1e-12), 0)) @ vectors.T

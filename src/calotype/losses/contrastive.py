"""Contrastive loss: pairs of one identity together, others apart by a margin."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from calotype.losses.triplet import squared_distances
from calotype.ranges import Above0
from calotype.types import UserError


def contrastive(squared: Tensor, same: Tensor, margin: float) -> Tensor:
    """d^2 for a pair of one identity, max(0, margin - d)^2 for another (Hadsell et al., 2006, eq. 4, without its 1/2).

    Each kind is averaged over its own pairs, and the two means are averaged: a batch of P x K images has far more
    pairs of the second kind.

    Shapes: squared distances (M,), same (M,) bool -> ().
    """
    squared = squared.float()
    # The root has no slope at 0, where two embeddings are one: from the smallest distance that single precision tells.
    apart = (margin - squared.clamp(min=1e-12).sqrt()).relu().square()
    kinds = [squared[same], apart[~same]]
    means = [kind.mean() for kind in kinds if len(kind)]
    return torch.stack(means).mean() if means else squared.sum() * 0


class Contrastive(nn.Module):
    """Over all pairs of a batch.

    Args:
        margin: in distance (not squared), 0 to 2 between unit vectors.

    Shapes: embeddings (B, D), labels (B,) -> ().
    """

    def __init__(self, *, margin: Above0 = 1.0) -> None:
        super().__init__()
        self.margin = _checked(margin)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        first, second = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
        return contrastive(squared_distances(embeddings)[first, second], labels[first] == labels[second], self.margin)


class PairContrastive(nn.Module):
    """Over given pairs, from their squared distances: for a siamese network with `task/head=squared_l2`.

    Args:
        margin: in distance (not squared).

    Shapes: distances (M,), squared; same (M,) bool -> ().
    """

    def __init__(self, *, margin: Above0 = 1.0) -> None:
        super().__init__()
        self.margin = _checked(margin)

    def forward(self, distances: Tensor, same: Tensor) -> Tensor:
        return contrastive(distances, same, self.margin)


def _checked(margin: float) -> float:
    if margin <= 0:
        raise UserError(f"loss.margin={margin}: above 0")
    return margin

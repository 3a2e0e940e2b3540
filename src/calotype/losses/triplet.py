"""Triplet loss: an anchor nearer to its positive than to a negative, by a margin; with the choice of triplets inside."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from calotype.ranges import AtLeast0
from calotype.types import UserError

Mining = Literal["random", "all", "semi_hard", "batch_hard"]


class Triplet(nn.Module):
    """max(0, d(a, p) - d(a, n) + margin) with d the squared L2 distance (Schroff et al., "FaceNet", 2015, eq. 3).

    Args:
        margin: in squared distance, 0 to 4 between unit vectors; `soft`: log(1 + exp(d(a, p) - d(a, n))) instead
            (Hermans et al., "In Defense of the Triplet Loss", 2017, who take the distance itself).
        mining: which triplets of the batch count.
            `all`: every one; the mean is over those whose loss is above 0 (Hermans' "batch all, non-zero").
            `semi_hard`: those with d(a, p) < d(a, n) < d(a, p) + margin; the mean is over them. FaceNet takes one such
            negative for each pair; here all, so nothing depends on a draw.
            `batch_hard`: each anchor with its farthest positive and nearest negative; the mean is over anchors.
            `random`: each (anchor, positive) with one negative drawn at random; the mean is over pairs.

    No form makes more than some (B, B) matrices: the sum over all triplets is linear in the distances, weighted by
    how many active triplets each takes part in, and these numbers come from sorted rows.

    After a step `active_share` holds the share of the triplets (anchors, pairs) whose loss was above 0; with a soft
    margin of those with d(a, p) > d(a, n). A batch without a triplet gives 0, with a gradient of 0.

    Shapes: embeddings (B, D), labels (B,) -> ().
    """

    def __init__(self, *, margin: AtLeast0 | Literal["soft"] = 0.2, mining: Mining = "batch_hard") -> None:
        super().__init__()
        if not isinstance(margin, str) and margin <= 0:
            raise UserError(f"loss.margin={margin}: above 0, or soft")
        if margin == "soft" and mining == "semi_hard":
            raise UserError("loss.margin=soft: loss.mining=semi_hard needs a margin; take another mining, or a number")
        self.margin = margin
        self.mining = mining
        self.active_share: Tensor | None = None

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        embeddings = embeddings.float()
        same = labels[:, None] == labels[None]
        positive = same.clone().fill_diagonal_(False)
        usable = positive.any(1) & ~same.all(1)  # anchors with a positive and a negative
        if not bool(usable.any()):
            self.active_share = embeddings.new_zeros(())
            return embeddings.sum() * 0
        positive &= usable[:, None]
        if self.mining in ("all", "semi_hard"):
            if self.margin == "soft":
                return self._soft_all(embeddings, same, positive)
            return self._weighted_sum(embeddings, same, positive, float(self.margin))
        with torch.no_grad():
            pick = batch_hard if self.mining == "batch_hard" else random_negatives
            anchor, near, far = pick(squared_distances(embeddings), same, positive)
        apart = _squared_norm(embeddings[anchor] - embeddings[near]) - _squared_norm(embeddings[anchor] - embeddings[far])
        if self.margin == "soft":
            self.active_share = (apart.detach() > 0).float().mean()
            return F.softplus(apart).mean()
        hinge = (apart + float(self.margin)).relu()
        self.active_share = (hinge.detach() > 0).float().mean()
        return hinge.mean()

    def _weighted_sum(self, embeddings: Tensor, same: Tensor, positive: Tensor, margin: float) -> Tensor:
        distances = squared_distances(embeddings)
        with torch.no_grad():
            weights, active = active_triplets(distances, same, positive, margin, semi_hard=self.mining == "semi_hard")
            self.active_share = active / (positive.sum(1) * (~same).sum(1)).sum()
        return ((weights * distances).sum() + margin * active) / active.clamp(min=1)

    def _soft_all(self, embeddings: Tensor, same: Tensor, positive: Tensor) -> Tensor:
        distances = squared_distances(embeddings)
        table, filled = positives_table(positive)
        total, violated = distances.new_zeros(()), distances.new_zeros(())
        for column, there in zip(table.T, filled.T, strict=True):  # one positive of every anchor at a time
            valid = ~same & there[:, None]
            # Computed again in the backward pass, so that one (B, B) matrix is held and not one for every positive.
            total = total + checkpoint(_soft_sum, distances, column, valid, use_reentrant=False)
            with torch.no_grad():
                violated += ((distances.gather(1, column[:, None]) > distances) & valid).sum()
        count = (positive.sum(1) * (~same).sum(1)).sum()
        self.active_share = violated / count
        return total / count


def squared_distances(embeddings: Tensor) -> Tensor:
    """(B, D) -> (B, B), squared L2, in single precision."""
    embeddings = embeddings.float()
    norms = _squared_norm(embeddings)
    return torch.addmm(norms[:, None] + norms[None], embeddings, embeddings.T, alpha=-2).clamp(min=0)


def active_triplets(distances: Tensor, same: Tensor, positive: Tensor, margin: float, *, semi_hard: bool) -> tuple[Tensor, Tensor]:
    """How many active triplets each pair takes part in: as (anchor, positive) counted up, as (anchor, negative) down.

    Args:
        distances: (B, B).
        same: (B, B) bool, whether two items are of one identity.
        positive: (B, B) bool, the (anchor, positive) pairs to use.
        margin: of the hinge.
        semi_hard: leave out negatives that are not farther than the positive.

    Returns:
        weights (B, B), so that sum(weights * distances) + margin * active is the sum of the hinges; active ().
    """
    size = len(distances)
    ordered, order = distances.masked_fill(same, torch.inf).sort(1)
    table, filled = positives_table(positive)
    near = distances.gather(1, table)  # (B, K), d(a, p)
    last = torch.searchsorted(ordered, near + margin)  # negatives before it have d(a, n) < d(a, p) + margin
    first = torch.searchsorted(ordered, near, right=True) if semi_hard else torch.zeros_like(last)
    first = torch.minimum(first, last)
    counts = (last - first) * filled
    steps = distances.new_zeros(size, size + 1)
    steps.scatter_add_(1, first, filled.to(steps.dtype)).scatter_add_(1, last, -filled.to(steps.dtype))
    taken = steps.cumsum(1)[:, :size]  # for each sorted negative, by how many positives
    weights = torch.zeros_like(distances).scatter_(1, order, -taken)
    rows = torch.arange(size, device=distances.device)[:, None].expand_as(table)
    weights[rows[filled], table[filled]] += counts[filled].to(weights.dtype)
    return weights, counts.sum()


def batch_hard(distances: Tensor, same: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each anchor that has both, its farthest positive, its nearest negative: numbers (A,), (A,), (A,)."""
    anchor = positive.any(1).nonzero()[:, 0]
    far = distances.masked_fill(~positive, -torch.inf).argmax(1)
    near = distances.masked_fill(same, torch.inf).argmin(1)
    return anchor, far[anchor], near[anchor]


def random_negatives(distances: Tensor, same: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each (anchor, positive) pair with a negative from the global generator: numbers (M,), (M,), (M,)."""
    anchor, near = positive.nonzero().unbind(1)
    negatives_first = same.int().argsort(dim=1, stable=True)
    draw = torch.rand(len(anchor), device=distances.device) * (~same).sum(1)[anchor]
    return anchor, near, negatives_first[anchor, draw.long()]


def positives_table(positive: Tensor) -> tuple[Tensor, Tensor]:
    """The positives of each anchor side by side: numbers (B, K) and which of them are there, bool (B, K)."""
    anchor, near = positive.nonzero().unbind(1)
    count = positive.sum(1)
    column = torch.arange(len(anchor), device=positive.device) - (count.cumsum(0) - count)[anchor]
    table = torch.zeros(len(positive), int(count.max()), dtype=torch.long, device=positive.device)
    table[anchor, column] = near
    return table, torch.arange(table.shape[1], device=positive.device) < count[:, None]


def _soft_sum(distances: Tensor, column: Tensor, valid: Tensor) -> Tensor:
    return (F.softplus(distances.gather(1, column[:, None]) - distances) * valid).sum()


def _squared_norm(vectors: Tensor) -> Tensor:
    return vectors.square().sum(-1)

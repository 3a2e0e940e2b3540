"""What a siamese network makes of two embeddings: the log-odds that they show the same, or a distance."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.ranges import Positive

START = 0.5  # weights start at softplus(0.5) = 0.97: log-odds of about -6 to 6 over standardised embeddings


class WeightedL1(nn.Module):
    """b + sum_k w_k |e1_k - e2_k| (Koch et al., 2015, before the sigmoid).

    Args:
        embedding_size: D; the task gives it.
        sign: `negative` keeps w below 0, so that more distance is never evidence for "same"; `free` as in the paper.

    Shapes: (..., D), (..., D) -> logits (...).
    """

    gives: Literal["logits"] = "logits"

    def __init__(self, embedding_size: Positive, *, sign: Literal["negative", "free"] = "negative") -> None:
        super().__init__()
        self.sign = sign
        size = F.softplus(torch.tensor(START)).item()
        self.weight = nn.Parameter(torch.full((embedding_size,), START if sign == "negative" else -size))
        self.bias = nn.Parameter(torch.tensor([_even_odds(embedding_size)]))  # (1,): FSDP takes none of ()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        weight = -F.softplus(self.weight) if self.sign == "negative" else self.weight
        return ((first - second).abs() * weight).sum(-1) + self.bias


class ChiSquare(nn.Module):
    """b - sum_k w_k (e1_k - e2_k)^2 / (|e1_k| + |e2_k|) with w above 0 (Taigman et al., "DeepFace", 2014, section 4.1).

    There features are not negative, and the denominator is e1 + e2; absolute values serve any features.

    Shapes: (..., D), (..., D) -> logits (...).
    """

    gives: Literal["logits"] = "logits"

    def __init__(self, embedding_size: Positive) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((embedding_size,), START))
        self.bias = nn.Parameter(torch.tensor([_even_odds(embedding_size)]))  # (1,): FSDP takes none of ()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        chi = (first - second).square() / (first.abs() + second.abs() + 1e-6)
        return self.bias - (chi * F.softplus(self.weight)).sum(-1)


class Concatenation(nn.Module):
    """A small network on both embeddings side by side, averaged over their two orders, so that A, B is judged as B, A.

    Args:
        embedding_size: D; the task gives it.
        hidden: units of the hidden layer.

    Shapes: (..., D), (..., D) -> logits (...).
    """

    gives: Literal["logits"] = "logits"

    def __init__(self, embedding_size: Positive, *, hidden: Positive = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * embedding_size, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        first, second = torch.broadcast_tensors(first, second)
        both = self.layers(torch.cat([first, second], -1)) + self.layers(torch.cat([second, first], -1))
        return both[..., 0] / 2


class SquaredL2(nn.Module):
    """|e1 - e2|^2, for a contrastive loss; nothing to train.

    Shapes: (..., D), (..., D) -> distances (...).
    """

    gives: Literal["distances"] = "distances"

    def __init__(self, embedding_size: Positive) -> None:
        super().__init__()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (first - second).square().sum(-1)


def _even_odds(embedding_size: int) -> float:
    """The bias at which unit vectors a tenth nearer than random ones, for whom sum |a - b| is sqrt(4 D / pi), have logit 0.

    Pairs that are hard to tell are hardly nearer than random ones, and a bias moves slowly: Adam's steps are as large as its rate.
    """
    return 0.9 * F.softplus(torch.tensor(START)).item() * math.sqrt(4 * embedding_size / math.pi)

"""Losses of a classifier: (logits, labels) -> a scalar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.ranges import AtLeast0, Below1
from calotype.types import UserError


class CrossEntropy(nn.Module):
    """Cross entropy, -sum_k q_k log p_k, averaged over the batch by the weights of the true classes.

    torch's own form weighs each k by its class instead; with smoothing, rare classes then pull every example's target
    towards themselves. Without smoothing both are the same.

    Args:
        class_counts: training images of each class.
        label_smoothing: s; q is 1 - s + s / K for the true class and s / K for the others (Szegedy et al., 2015).
        class_weight: `none`; `balanced`: N / (K count), scikit-learn's rule; or one weight for each class.

    Shapes: logits (N, K), labels (N,) int64 -> ().
    """

    weight: Tensor | None

    def __init__(
        self,
        class_counts: Sequence[int],
        *,
        label_smoothing: Below1 = 0.0,
        class_weight: Literal["none", "balanced"] | Sequence[AtLeast0] = "none",
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise UserError(f"loss.label_smoothing={label_smoothing}: 0 or more, below 1")
        self.label_smoothing = label_smoothing
        self.register_buffer("weight", class_weights(class_counts, class_weight), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.weight is None:
            return F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)
        each = F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing, reduction="none")
        weight = self.weight[labels]
        return (weight * each).sum() / weight.sum()


class Focal(nn.Module):
    """Focal loss, -(1 - p_y)^gamma log p_y, weighted and averaged as cross entropy is (Lin et al., 2017, eq. 5).

    The paper divides by the number of foreground anchors; here by the sum of the weights, so that gamma 0 is
    `CrossEntropy` exactly.

    Args:
        class_counts: training images of each class.
        gamma: 0 or more; how far easy examples are turned down.
        class_weight: as in `CrossEntropy`.

    Shapes: logits (N, K), labels (N,) int64 -> ().
    """

    weight: Tensor | None

    def __init__(
        self,
        class_counts: Sequence[int],
        *,
        gamma: AtLeast0 = 2.0,
        class_weight: Literal["none", "balanced"] | Sequence[AtLeast0] = "none",
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise UserError(f"loss.gamma={gamma}: 0 or more")
        self.gamma = gamma
        self.register_buffer("weight", class_weights(class_counts, class_weight), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        log_p = F.log_softmax(logits.float(), 1).gather(1, labels[:, None])[:, 0]
        # 1 - p by expm1: no cancellation, and at p = 1 (gradient of 0^gamma for gamma < 1) the clamp keeps it finite.
        focus = (-torch.expm1(log_p)).clamp(min=1e-12) ** self.gamma if self.gamma else torch.ones_like(log_p)
        weight = torch.ones_like(log_p) if self.weight is None else self.weight[labels]
        return (-weight * focus * log_p).sum() / weight.sum()


def class_weights(counts: Sequence[int], rule: Literal["none", "balanced"] | Sequence[float]) -> Tensor | None:
    """One float32 weight for each class, or None where all weigh the same."""
    if isinstance(rule, str):
        if rule == "none":
            return None
        if rule != "balanced":
            raise UserError(f"loss.class_weight={rule}: none, balanced, or one weight for each class")
        present = torch.tensor(counts, dtype=torch.float32).clamp(min=1)
        return torch.tensor(float(sum(counts))) / (len(counts) * present)
    if len(rule) != len(counts) or min(rule) < 0 or max(rule) == 0:
        raise UserError(f"loss.class_weight={list(rule)}: give one weight of 0 or more for each of the {len(counts)} classes")
    return torch.tensor(list(rule), dtype=torch.float32)

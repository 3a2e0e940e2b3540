"""Whether two images show the same: cross entropy of one logit."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class BinaryCrossEntropy(nn.Module):
    """-log sigmoid(z) for a pair of one identity, -log(1 - sigmoid(z)) for another, averaged.

    Shapes: logits (M,), same (M,) bool -> ().
    """

    def forward(self, logits: Tensor, same: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits.float(), same.float())

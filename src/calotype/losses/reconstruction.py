"""How far a reconstruction is from what was observed, where it was observed."""

from __future__ import annotations

from torch import Tensor, nn


class MeanSquaredError(nn.Module):
    """Mean over all pixels of ((output - observed) * known)^2: holes count as nothing (Ulyanov et al., 2018, eq. 6)."""

    def forward(self, output: Tensor, observed: Tensor, known: Tensor) -> Tensor:
        """output and observed (N, C, h, w), known (N, 1, h, w) of 0 and 1."""
        return ((output - observed) * known).square().mean()


class MeanAbsoluteError(nn.Module):
    """Mean over all pixels of |output - observed| * known."""

    def forward(self, output: Tensor, observed: Tensor, known: Tensor) -> Tensor:
        return ((output - observed) * known).abs().mean()

"""The running average of a network that is trained."""

from __future__ import annotations

import torch
from torch import nn


def follow(average: nn.Module, network: nn.Module, weight: float, steps: int) -> None:
    """Move `average` towards `network`, buffers included; faster at first, when there is nothing to remember."""
    share = 1 - min(weight, (1 + steps) / (10 + steps))
    for mine, its in ((average.parameters(), network.parameters()), (average.buffers(), network.buffers())):
        pairs = [(a, b.detach()) for a, b in zip(mine, its, strict=True)]
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        with torch.no_grad():
            if floats:
                torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], share)
            for a, b in pairs:
                if not a.is_floating_point():
                    a.copy_(b)

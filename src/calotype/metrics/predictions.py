"""What a network gave for every image of a side, each image once, whatever the batches and processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class Predictions(Metric):
    """Collects (outputs, labels, item numbers) over batches and processes.

    `compute` gives them in the items' order, an item that several processes saw (padding) once.
    """

    full_state_update = False
    outputs: list[Tensor]
    labels: list[Tensor]
    index: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("outputs", "labels", "index"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, outputs: Tensor, labels: Tensor, index: Tensor) -> None:
        self.outputs.append(outputs.detach().float())
        self.labels.append(labels)
        self.index.append(index)

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """outputs (N, K), labels (N,), item numbers (N,) ascending."""
        # One process holds lists, several hold what was gathered into one tensor.
        outputs, labels, index = (torch.cat(s) if isinstance(s, list) else s for s in (self.outputs, self.labels, self.index))
        unique, inverse = index.unique(return_inverse=True)
        first = torch.full_like(unique, len(index)).scatter_reduce(0, inverse, torch.arange(len(index), device=index.device), "amin")
        return outputs[first], labels[first], unique

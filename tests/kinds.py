"""Parts of another kind than classification takes, for the test that they are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from calotype.losses.classification import CrossEntropy
from calotype.types import Embeddings


class PairBatch(NamedTuple):
    first: Tensor
    second: Tensor


class TripletLike(nn.Module):
    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return embeddings.sum()


class PairsLike:
    batch = PairBatch

    def __init__(
        self, *, dataset: Any, preprocess: Any, augment: Any, batch_size: int, eval_batch_size: int, val_fraction: float,
        test_fraction: float, split_seed: int, seed: int, classes: Any, largest_classes: Any, positive: Any, balanced: bool, per_class: Any,
        num_workers: int, ram_budget_mb: int,
    ) -> None: ...  # fmt: skip


class Embedder(nn.Module):
    def forward(self, images: Tensor) -> Embeddings:
        return images


class HalfDeaf(CrossEntropy):
    """Takes an argument that nothing is made of."""

    def __init__(self, *, class_counts: Sequence[int], label_smoothing: float = 0.0, unheard: float = 1.0) -> None:
        super().__init__(class_counts=class_counts, label_smoothing=label_smoothing)

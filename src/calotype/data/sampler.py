"""Batches of item numbers whose order depends on (seed, epoch) alone: resume and DDP need no other state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import Sampler


class EpochSampler(Sampler[Tensor]):
    """Yields int64 tensors of `batch_size` item numbers; with several processes, each its own share of every batch.

    Lightning calls `set_epoch`. Training drops what does not fill a batch on every process, unless there is less than one
    batch; evaluation keeps all, and repeats the last item where the processes would take unlike numbers of steps.

    Args:
        indices: the item numbers to draw from.
        batch_size: of one process.
        train: shuffle each epoch anew, and drop the incomplete batch.
        seed: of the order.
        weights: of each of `indices`; draws with replacement in proportion to them (a balanced epoch).
    """

    def __init__(
        self, indices: Sequence[int] | Tensor, *, batch_size: int, train: bool, seed: int = 0, weights: Tensor | None = None
    ) -> None:
        self.indices = torch.as_tensor(indices, dtype=torch.int64)
        self.batch_size = batch_size
        self.train = train
        self.seed = seed
        self.weights = weights
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        share = self._share_length()
        if self.train:
            return max(share // self.batch_size, min(share, 1))
        return -(-share // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        rank, world = processes()
        order = self._order()
        share = self._share_length()
        padded = torch.cat([order, order[-1:].expand(max(share * world - len(order), 0))])
        mine = padded[rank : share * world : world]
        for i in range(len(self)):
            yield mine[i * self.batch_size : (i + 1) * self.batch_size]

    def _order(self) -> Tensor:
        if not self.train:
            return self.indices
        # A stream for each (seed, epoch): seed 1's epochs are not seed 0's, one later.
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        if self.weights is not None:
            return self.indices[torch.multinomial(self.weights, len(self.indices), replacement=True, generator=generator)]
        return self.indices[torch.randperm(len(self.indices), generator=generator)]

    def _share_length(self) -> int:
        _, world = processes()
        return len(self.indices) // world if self.train else -(-len(self.indices) // world)


def processes() -> tuple[int, int]:
    """(rank, number of processes)."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1

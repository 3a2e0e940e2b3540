"""Batches of P identities x K images, from (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from calotype.data.sampler import processes


class IdentitySampler(Sampler[Tensor]):
    """Yields int64 tensors of P * K item numbers: K of each of P identities; with several processes, each its own identities.

    Identities are drawn without repeats within a batch, and images too, unless an identity has fewer than K: then each
    of its images comes as often as another, or once more.

    Args:
        items: item numbers to draw from, (N,).
        labels: their identities, (N,); every one has at least two images.
        identities: P, of one process.
        images: K.
        num_batches: in an epoch.
        seed: of the draws.
    """

    def __init__(self, items: Tensor, labels: Tensor, *, identities: int, images: int, num_batches: int, seed: int = 0) -> None:
        order = labels.argsort(stable=True)
        self.items = items[order]
        self.counts = labels.unique(return_counts=True)[1]
        self.start = self.counts.cumsum(0) - self.counts
        self.identities = identities
        self.images = images
        self.num_batches = num_batches
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[Tensor]:
        rank, world = processes()
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        for _ in range(self.num_batches):
            # Every process draws the whole batch and keeps its part: together they see what one process would.
            people = torch.randperm(len(self.counts), generator=generator)[: self.identities * world]
            batch = torch.stack([self._images_of(int(person), generator) for person in people])
            yield batch[rank * self.identities : (rank + 1) * self.identities].flatten()

    def _images_of(self, person: int, generator: torch.Generator) -> Tensor:
        count = int(self.counts[person])
        rounds = -(-self.images // count)
        chosen = torch.cat([torch.randperm(count, generator=generator) for _ in range(rounds)])[: self.images]
        return self.items[self.start[person] + chosen]

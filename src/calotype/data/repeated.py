"""A data set of one batch that is given again and again, for tasks that fit one image."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset


class Repeated(Dataset[Any]):
    """`times` times the same batch."""

    def __init__(self, batch: Any, times: int) -> None:
        self.batch = batch
        self.times = times

    def __getitem__(self, index: int) -> Any:
        return self.batch

    def __len__(self) -> int:
        return self.times

    @classmethod
    def loader(cls, batch: Any, times: int) -> DataLoader[Any]:
        """Its own generator: none is drawn from the task's."""
        return DataLoader(cls(batch, times), batch_size=None, generator=torch.Generator().manual_seed(0))

"""No data: an epoch is so many steps, for tasks that make a picture from nothing."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from calotype.data.repeated import Repeated
from calotype.ranges import Positive
from calotype.types import DataSpec, NoBatch, UserError


class Steps(LightningDataModule):
    """Gives nothing, `steps_per_epoch` times an epoch, and says how large a picture is to be.

    Args:
        size: side of the pictures in pixels.
        steps_per_epoch: steps between two lines of progress, and two checkpoints.
    """

    batch = NoBatch

    def __init__(self, *, size: Positive = 128, steps_per_epoch: Positive = 64) -> None:
        super().__init__()
        if size < 32:
            raise UserError(f"data.size={size}: pixels, 32 and more")
        self.steps_per_epoch = steps_per_epoch
        self.spec = DataSpec((3, size, size), (), (), 3)
        self.split_manifest = {"sizes": {"train": 1, "val": 0, "test": 1}, "dataset": "none", "hash": f"{size}"}

    def train_dataloader(self) -> DataLoader[Any]:
        return Repeated.loader(NoBatch(torch.zeros(0)), self.steps_per_epoch)

    def test_dataloader(self) -> DataLoader[Any]:
        return Repeated.loader(NoBatch(torch.zeros(0)), 1)

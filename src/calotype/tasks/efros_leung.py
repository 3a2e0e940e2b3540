"""Texture without learning: Efros and Leung's sampling as a run of its own."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pytorch_lightning import LightningModule

from calotype.trainer_keys import DESCENT, LENGTH, VALIDATION, ignoring
from calotype.types import DataSpec, Needs, UnlabelledBatch


class EfrosLeung(LightningModule):
    """Trains nothing; its pictures are all there is, see `callbacks.texture_pictures`.

    Args:
        spec: of the data; `calotype.run` gives it.
    """

    needs = Needs(batch=UnlabelledBatch, model=None, loss=None)
    # Keys of the trainer that it does not obey, and why.
    ignores: ClassVar = ignoring(
        (*LENGTH, *VALIDATION, *DESCENT, "limit_train_batches", "limit_test_batches", "log_every_n_steps", "overfit_batches"),
        "it learns and measures nothing",
    )

    def __init__(self, *, spec: DataSpec) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.spec = spec
        self.nothing = torch.nn.Parameter(torch.zeros(()), requires_grad=False)

    def training_step(self, batch: UnlabelledBatch, batch_idx: int) -> None:
        """Nothing to learn."""

    def validation_step(self, batch: UnlabelledBatch, batch_idx: int) -> None:
        """Nor to choose by."""

    def test_step(self, batch: UnlabelledBatch, batch_idx: int) -> None:
        """Nothing to measure."""

    def configure_optimizers(self) -> Any:
        return None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["spec"] = self.spec._asdict()

"""The same training batches in every epoch: can a network learn a few of them by heart?"""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class SameBatches(Callback):
    """Keeps the order of the first epoch (`trainer.overfit_batches`).

    Lightning's own `overfit_batches` puts a sampler of single items in place of ours, which draw whole batches. Augmentation goes on
    drawing: `data.augment=null` leaves it out.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loaders: Any = trainer.fit_loop._combined_loader
        for loader in loaders.flattened:
            sampler = loader.sampler
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(0)
                sampler.set_epoch = _stay  # which Lightning calls at the start of each epoch


def _stay(epoch: int) -> None:
    """Leave the order as it is."""

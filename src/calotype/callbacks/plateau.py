"""Steps a ReduceLROnPlateau with the task's own metric, when that is measured and before a checkpoint is written."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from calotype.types import UserError


def is_plateau(scheduler: Any) -> bool:
    """Return whether a scheduler, or a partial or class of one, watches a metric."""
    kind = getattr(scheduler, "func", scheduler)
    return isinstance(kind, ReduceLROnPlateau) or (isinstance(kind, type) and issubclass(kind, ReduceLROnPlateau))


class Plateau(Callback):
    """Lightning's own step comes after the checkpoint of the epoch, which a resumed run would then lack, once an epoch whether or not
    there was a validation, and not at all under manual optimization.

    Args:
        monitor: the logged metric: one of validation steps after each validation, one of training after each epoch.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor.startswith("val/") and trainer.state.fn == TrainerFn.FITTING:
            self._step(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.monitor.startswith("val/"):
            self._step(trainer)

    def _step(self, trainer: Trainer) -> None:
        schedulers = [one.scheduler for one in trainer.lr_scheduler_configs if is_plateau(one.scheduler)]
        if not schedulers:
            return
        value = trainer.callback_metrics.get(self.monitor)
        if value is None:
            raise UserError(f"scheduler: ReduceLROnPlateau watches {self.monitor}, which was not measured; choose another scheduler")
        # A metric of training is each process's own, and all are to have the same learning rate.
        shared = float(trainer.strategy.reduce(value, reduce_op="mean"))
        for scheduler in schedulers:
            scheduler.step(shared)  # type: ignore[arg-type]  # which torch annotates as an epoch

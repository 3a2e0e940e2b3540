"""Settings of the optimizer that a resumed run has from now on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class OptimizerChanges(Callback):
    """Puts them in place of those that the checkpoint brought back.

    A learning rate is changed by its factor: networks with a share of it keep their share, and a schedule goes on from
    the new one.

    Args:
        changes: argument of the optimizer -> (value before, value now).
    """

    def __init__(self, changes: Mapping[str, tuple[Any, Any]]) -> None:
        self.changes = changes

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                self._change(group)

        if "lr" in self.changes:
            before, now = self.changes["lr"]
            for config in trainer.lr_scheduler_configs:
                scheduler: Any = config.scheduler
                scheduler.base_lrs = [lr * now / before for lr in getattr(scheduler, "base_lrs", [])]

    def _change(self, group: dict[str, Any]) -> None:
        for name, (before, now) in self.changes.items():
            if name == "lr":
                for key in ("lr", "initial_lr"):
                    if key in group:
                        group[key] *= now / before
            elif name in group:
                group[name] = now

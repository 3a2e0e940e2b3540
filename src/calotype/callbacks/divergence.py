"""Ends a training whose loss or weights are no longer numbers, before a checkpoint holds them."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from calotype.types import UserError

MOST = 199  # letters of the message
LOSSES = ("loss", "nll_nats", "bits_per_dim")  # how the names of metrics end that must be numbers


class Divergence(Callback):
    """Looks at the loss each time metrics are logged, and at all weights at the end of an epoch.

    Both come before the checkpoints of an epoch are written, so that `last.ckpt` and `best.ckpt` hold the last good
    state. With 16-mixed precision single losses may overflow, whose steps are then left out; there only the ends of
    epochs count.

    Raises:
        UserError: the loss, a weight, or what validation compares is infinite or not a number.
    """

    def __init__(self) -> None:
        self._loss: Tensor | None = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        self._loss = loss if isinstance(loss, Tensor) else None
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (batch_idx + 1) % every == 0 and not str(trainer.precision).startswith("16"):
            self._check_loss(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._check(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            # Finite weights may give outputs that are not; a task that sees it says so here.
            if told := getattr(pl_module, "diverged", ""):
                self._fail(trainer, told)
            for name, value in trainer.callback_metrics.items():
                if name.startswith("val/") and name.endswith(LOSSES) and not value.isfinite().all():
                    self._fail(trainer, f"{name} is {float(value)}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer, pl_module)

    def _check(self, trainer: Trainer, module: LightningModule) -> None:
        self._check_loss(trainer)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if parameter.requires_grad and not parameter.isfinite().all():
                    self._fail(trainer, f"the weights {name} are no longer numbers")

    def _check_loss(self, trainer: Trainer) -> None:
        if self._loss is not None and not self._loss.isfinite().all():
            self._fail(trainer, f"the loss is {float(self._loss.float().mean())}")

    def _fail(self, trainer: Trainer, what: str) -> None:
        good = trainer.fit_loop.epoch_progress.current.completed
        where = f"last.ckpt holds the state after epoch {good}" if good else "no epoch was completed"
        precision = single_precision(trainer, ", or ")
        advice = f"lower optimizer.lr{', set' if precision else ' or set'} trainer.gradient_clip_val{precision}"
        before, after = f"training diverged in epoch {good + 1}, step {trainer.global_step}: ", f"; {where}; {advice}"
        room = MOST - len(before) - len(after)
        raise UserError(before + (what if len(what) <= room else f"{what[: room - 3]}...") + after)


def single_precision(trainer: Any, before: str) -> str:
    """Advice to compute in single precision, after the words `before` it; nothing where that is so already."""
    return "" if str(trainer.precision).startswith(("32", "64")) else f"{before}hardware.precision=32-true"

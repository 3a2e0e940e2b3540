"""Progress as plain lines, for a log file or a terminal that cannot redraw."""

from __future__ import annotations

import time

from pytorch_lightning import Callback, LightningModule, Trainer

from calotype.console import echo


class PlainProgress(Callback):
    """One line an epoch: its number, the figures on the progress bar, the seconds it took."""

    def __init__(self) -> None:
        self._start = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        figures = "  ".join(f"{name} {float(value):.4f}" for name, value in sorted(trainer.progress_bar_metrics.items()))
        most = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
        seconds = time.perf_counter() - self._start
        echo(f"epoch {trainer.current_epoch + 1}{most}  {figures}  {seconds:.1f} s")

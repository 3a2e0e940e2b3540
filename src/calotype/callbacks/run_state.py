"""What a run has to remember, in addition to its networks and optimizers, to go on as if it had not been cut off."""

from __future__ import annotations

import time
from typing import Any, TypedDict

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, Timer
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from calotype.callbacks.metrics_csv import MetricsCsv

KEY = "calotype"  # of a checkpoint


class State(TypedDict):
    """A checkpoint's note on how far the run was. Plain values: checkpoints are loaded with weights_only=True."""

    epochs: int  # that were completed
    step: int  # optimizer steps
    batches: int  # training batches, which is what metrics are logged by
    stopped: str | None  # why training ends here, before its limits
    csv_bytes: int  # of metrics.csv
    pending: dict[str, float]  # metrics of the epoch, which Lightning logs after its checkpoint
    fit_seconds: float
    validation_seconds: float
    images: int  # that training has seen
    alarm: dict[str, Any] | None  # of the task's alarm


class RunState(Callback):
    """Writes a `State` into each checkpoint, and takes up where the checkpoint of a resumed run left off.

    Training that ended in a checkpoint is not taken up again: Lightning does not remember that a callback or the task
    asked for the end. Rows of metrics.csv that a resumed run is about to write again are removed first. Training is logged
    once an epoch at least.

    Args:
        csv: the logger that writes metrics.csv.
    """

    def __init__(self, csv: MetricsCsv) -> None:
        self.csv = csv
        self.fit_seconds = 0.0
        self.validation_seconds = 0.0
        self.images = 0
        self.evaluation_seconds = {"test": 0.0, "pictures": 0.0}
        self._started = 0.0
        self._pictures_started: float | None = None  # none are made where trainer.limit_test_batches=0

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        epochs: Any = trainer.fit_loop.epoch_progress.current
        epoch_ends = epochs.completed < epochs.processed
        alarm = getattr(pl_module, "alarm", None)

        state: State = {
            "epochs": epochs.processed,
            "step": trainer.global_step,
            "batches": batches(trainer),
            "stopped": stop_reason(trainer),
            "csv_bytes": self.csv.size(),
            "pending": epoch_metrics(trainer) if epoch_ends else {},
            "fit_seconds": self.seconds(),
            "validation_seconds": self.validation_seconds,
            "images": self.images,
            "alarm": None if alarm is None else alarm.state_dict(),
        }
        checkpoint[KEY] = state

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return  # the evaluation reads a checkpoint for its weights alone
        self.take_up(checkpoint[KEY], pl_module)
        if trainer.is_global_zero:
            self.csv.restore(checkpoint[KEY])

    def take_up(self, state: State, module: LightningModule) -> None:
        """Count on from a checkpoint's note."""
        self.fit_seconds = state["fit_seconds"]
        self.validation_seconds = state["validation_seconds"]
        self.images = state["images"]
        alarm: Any = getattr(module, "alarm", None)
        if state["alarm"] is not None and alarm is not None:
            alarm.load_state_dict(state["alarm"])

    def seconds(self) -> float:
        """Of fitting, in this process and those before it."""
        return self.fit_seconds + (time.perf_counter() - self._started if self._started else 0.0)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.fit_seconds, self._started = self.seconds(), 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # An epoch of fewer batches would end without a line of the training, and a short run without any. Not in `make_trainer`:
        # how many there are is known now.
        batches_of_epoch = trainer.num_training_batches
        if 0 < batches_of_epoch < trainer.log_every_n_steps:  # type: ignore[attr-defined]
            trainer.log_every_n_steps = int(batches_of_epoch)  # type: ignore[attr-defined]

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        first = batch[0] if isinstance(batch, tuple | list) and batch else batch
        if isinstance(first, Tensor) and first.ndim:
            self.images += len(first) * trainer.world_size

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation_started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds = time.perf_counter() - self._validation_started
        if self._started:  # within fitting
            self.validation_seconds += seconds
        else:
            self.evaluation_seconds["test"] += seconds

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._test_started = time.perf_counter()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The first callback of all: the others, which come after it, make pictures.
        self._pictures_started = time.perf_counter()
        self.evaluation_seconds["test"] += self._pictures_started - self._test_started

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "test" and self._pictures_started is not None:
            seconds = time.perf_counter() - self._pictures_started
            self.evaluation_seconds["pictures"] += seconds


def end_training(module: LightningModule, reason: str) -> None:
    """Let training end after this batch or epoch, and remember why."""
    trainer: Any = module.trainer
    trainer.should_stop = True
    trainer.stop_reason = reason


def stop_reason(trainer: Trainer) -> str | None:
    """Why training ends before its limits; None where nothing asked for that."""
    if not trainer.should_stop:
        return None
    callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if isinstance(callback, EarlyStopping) and callback.stopping_reason.value:
            return "early_stopping"
        left = callback.time_remaining() if isinstance(callback, Timer) else None
        if left is not None and left <= 0:
            return "max_time"
    return getattr(trainer, "stop_reason", None) or "a callback"


def batches(trainer: Trainer) -> int:
    """Training batches so far. Under manual optimization `global_step` counts the steps of all optimizers instead."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def epoch_metrics(trainer: Trainer) -> dict[str, float]:
    """What Lightning logs at the end of a training epoch, after the epoch's last checkpoint is written."""
    metrics = trainer._logger_connector.metrics["log"]
    return {name: float(value) for name, value in metrics.items() if not isinstance(value, dict)}

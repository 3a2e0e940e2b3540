"""The clock that comparisons of training steps put into a run."""

from __future__ import annotations

import time

from pytorch_lightning import Callback


class Clock(Callback):
    """Seconds of every epoch's training batches, without the checkpoint and whatever else stands between epochs."""

    seconds: list[float] = []  # noqa: RUF012

    def on_train_epoch_start(self, *_: object) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:  # type: ignore[no-untyped-def]
        if batch_idx == trainer.num_training_batches - 1:
            self.seconds.append(time.perf_counter() - self.start)

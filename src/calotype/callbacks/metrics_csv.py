"""metrics.csv: every logged metric as a line; only ever appended to, so that a kill loses nothing."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

if TYPE_CHECKING:
    from calotype.callbacks.run_state import State

FIELDS = ("step", "epoch", "name", "value", "seconds")  # seconds since the run's start, pauses left out


class MetricsCsv(Logger):
    """Lightning's own CSV logger deletes the file of a resumed run; this one removes only what is logged again."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._started = time.perf_counter()

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> None:
        return None

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass  # config.yaml has them

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        at, epoch = step or 0, int(metrics.get("epoch", 0))
        seconds = f"{time.perf_counter() - self._started:.3f}"
        is_new = self.size() == 0  # a resumed run may have gone back to before its first line

        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(FIELDS)
            for name, value in metrics.items():
                if name != "epoch":
                    writer.writerow((at, epoch, name, repr(float(value)), seconds))

    def size(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def restore(self, state: State) -> None:
        """Go back to what the file held when a checkpoint was written, and count seconds on from there."""
        if not self.path.exists():
            return
        os.truncate(self.path, min(state["csv_bytes"], self.size()))
        seconds = [float(row[-1]) for row in _rows(self.path) if len(row) == len(FIELDS)]
        self._started = time.perf_counter() - (seconds[-1] if seconds else 0.0)

        if state["pending"]:
            epoch = {"epoch": state["epochs"] - 1}
            self.log_metrics({**state["pending"], **epoch}, step=state["batches"] - 1)

    def start_over(self) -> None:
        """Forget what an attempt without a checkpoint left."""
        self.path.unlink(missing_ok=True)


def read_metrics(path: Path) -> list[tuple[int, int, str, float]]:
    """(step, epoch, name, value) of each line; a last line that was cut short is left out."""
    return [(int(row[0]), int(row[1]), row[2], float(row[3])) for row in _rows(path)]


def _rows(path: Path) -> list[list[str]]:
    rows = []
    with path.open(newline="") as file:
        for row in csv.reader(file):
            try:
                int(row[0]), int(row[1]), float(row[3]), float(row[4])
            except (ValueError, IndexError):
                continue  # the heading, or a line that a kill cut short
            rows.append(row)
    return rows

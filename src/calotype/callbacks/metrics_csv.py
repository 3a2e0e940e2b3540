"""metrics.csv: every logged figure as a line of step, epoch, name, value; only ever appended to, so a kill loses nothing."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

FIELDS = ("step", "epoch", "name", "value")


class MetricsCsv(Logger):
    """Lightning's own CSV logger deletes the file of a run that goes on; this one drops only what is drawn anew."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._opened = False

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
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        at = step or 0
        epoch = int(metrics.get("epoch", 0))
        if not self._opened:
            self._drop_from(at)
            self._opened = True
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerows((at, epoch, name, repr(float(v))) for name, v in metrics.items() if name != "epoch")

    def _drop_from(self, step: int) -> None:
        """Keep an earlier part of the run up to where this one goes on."""
        kept = [row for row in read_metrics(self.path) if row[0] < step] if self.path.exists() else []
        with self.path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(FIELDS)
            writer.writerows((at, epoch, name, repr(value)) for at, epoch, name, value in kept)


def read_metrics(path: Path) -> list[tuple[int, int, str, float]]:
    """The rows of a metrics.csv; a last line that was cut off is left out."""
    rows = []
    with path.open(newline="") as file:
        for row in csv.reader(file):
            try:
                rows.append((int(row[0]), int(row[1]), row[2], float(row[3])))
            except (ValueError, IndexError):
                continue  # the heading, or a line that a kill cut short
    return rows

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import calotype
from calotype.callbacks.metrics_csv import MetricsCsv, read_metrics
from calotype.callbacks.run_state import State


def state(**values: Any) -> State:
    """A checkpoint's note with these values."""
    empty: State = {
        "epochs": 0,
        "step": 0,
        "batches": 0,
        "stopped": None,
        "csv_bytes": 0,
        "pending": {},
        "fit_seconds": 0.0,
        "validation_seconds": 0.0,
        "images": 0,
        "alarm": None,
    }
    return {**empty, **values}  # type: ignore[typeddict-item]


def test_rows_come_back_exactly(tmp_path: Path) -> None:
    logger = MetricsCsv(tmp_path / "m.csv")
    logger.log_metrics({"train/loss": 0.1 + 0.2, "epoch": 3}, step=7)
    logger.log_metrics({"val/loss": float("nan"), "epoch": 3}, step=8)
    rows = read_metrics(tmp_path / "m.csv")
    assert rows[0] == (7, 3, "train/loss", 0.1 + 0.2)
    assert rows[1][:3] == (8, 3, "val/loss")
    assert rows[1][3] != rows[1][3]


def test_a_resumed_run_goes_back_to_what_its_checkpoint_saw(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    first = MetricsCsv(path)
    for step in range(3):
        first.log_metrics({"train/loss": float(step)}, step=step)
    at_checkpoint = first.size()
    for step in (3, 4, 5):
        first.log_metrics({"train/loss": float(step)}, step=step)
    path.write_bytes(path.read_bytes() + b"6,0,train/lo")  # cut off in the middle of a line

    second = MetricsCsv(path)
    second.restore(state(csv_bytes=at_checkpoint, pending={"train/psnr": 30.0}, batches=3, epochs=1))
    for step in (3, 4):
        second.log_metrics({"train/loss": 10.0 + step}, step=step)
    rows = [(step, name, value) for step, _, name, value in read_metrics(path)]
    assert rows == [
        *((i, "train/loss", float(i)) for i in range(3)),
        (2, "train/psnr", 30.0),  # of the epoch's end, which Lightning logs after the checkpoint
        (3, "train/loss", 13.0),
        (4, "train/loss", 14.0),
    ]
    seconds = [float(line.split(",")[4]) for line in path.read_text().splitlines()[1:]]
    assert seconds == sorted(seconds)


def test_a_run_that_goes_back_to_before_its_first_line_has_a_heading(tmp_path: Path) -> None:
    """One that was killed in its test, and had logged nothing while it trained."""
    path = tmp_path / "m.csv"
    first = MetricsCsv(path)
    first.log_metrics({"test/loss": 1.0}, step=9)
    whole = [line.split(",")[:4] for line in path.read_text().splitlines()]

    second = MetricsCsv(path)
    second.restore(state(csv_bytes=0, batches=9, epochs=1))
    second.log_metrics({"test/loss": 1.0}, step=9)
    assert [line.split(",")[:4] for line in path.read_text().splitlines()] == whole
    assert whole[0] == ["step", "epoch", "name", "value"]


SHORT = ["trainer.max_epochs=2", "trainer.limit_train_batches=3"]
QUICK = ["logger=none", "hardware=cpu", "hardware.num_threads=1", "~callbacks.pictures"]
TASKS = {
    "cgan": ["task=cgan", "task.classifier=null", "task.samples=100", "model=gan/dcgan_light", "model.width=2"],
    "classification": ["model.widths=[4]"],
}


@pytest.mark.parametrize("task", TASKS)
def test_epochs_of_few_batches_are_logged(task: str, tmp_path: Path) -> None:
    """Fewer batches than trainer.log_every_n_steps: a line at the end of each epoch."""
    run = calotype.run([*SHORT, *QUICK, *TASKS[task], f"hydra.run.dir={tmp_path}/run"])
    losses = [(step, epoch) for step, epoch, name, _ in read_metrics(run.run_dir / "metrics.csv") if name in ("train/d_loss", "train/loss")]
    assert losses == [(2, 0), (5, 1)]

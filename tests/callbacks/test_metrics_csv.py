from __future__ import annotations

from pathlib import Path

from calotype.callbacks.metrics_csv import MetricsCsv, read_metrics


def test_rows_come_back_exactly(tmp_path: Path) -> None:
    logger = MetricsCsv(tmp_path / "m.csv")
    logger.log_metrics({"train/loss": 0.1 + 0.2, "epoch": 3}, step=7)
    logger.log_metrics({"val/loss": float("nan"), "epoch": 3}, step=8)
    rows = read_metrics(tmp_path / "m.csv")
    assert rows[0] == (7, 3, "train/loss", 0.1 + 0.2)
    assert rows[1][:3] == (8, 3, "val/loss")
    assert rows[1][3] != rows[1][3]


def test_a_resumed_run_drops_what_it_draws_anew(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    first = MetricsCsv(path)
    for step in range(6):
        first.log_metrics({"train/loss": float(step)}, step=step)
    path.write_text(path.read_text() + "6,0,train/lo")  # cut off in the middle of a line
    second = MetricsCsv(path)
    for step in (3, 4):
        second.log_metrics({"train/loss": 10.0 + step}, step=step)
    assert [(r[0], r[3]) for r in read_metrics(path)] == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 13.0), (4, 14.0)]

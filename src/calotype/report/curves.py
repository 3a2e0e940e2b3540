"""The curves of a run, as metrics.csv holds them."""

from __future__ import annotations

import csv
import math
from pathlib import Path

Points = dict[int, float]


def read_curves(folder: Path) -> dict[str, Points]:
    """Of each figure of training and validation the value by step; without what is not finite, and what a run that was cut off left half.

    The evaluation that follows the training, on the weights that were chosen, is no point of the curve.
    """
    file = folder / "metrics.csv"
    if not file.is_file():
        return {}
    rows = []
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            try:
                rows.append((row["name"], int(row["epoch"]), int(row["step"]), float(row["value"])))
            except (KeyError, TypeError, ValueError):
                continue
    last = max((epoch for name, epoch, _, _ in rows if name.startswith("train/")), default=math.inf)
    found: dict[str, Points] = {}
    for name, epoch, step, value in rows:
        if name.startswith(("train/", "val/")) and epoch <= last and math.isfinite(value):
            found.setdefault(name, {})[step] = value
    return found

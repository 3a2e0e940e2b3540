"""The curves of a run, as metrics.csv holds them."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator
from pathlib import Path

from calotype.record_types import LARGEST
from calotype.types import UserError

Points = dict[int, float]
MAX_STEP = 2**53  # larger whole numbers are not all exact in JavaScript, which draws the page


def read_curves(folder: Path) -> dict[str, Points]:
    """Return the value of each metric of training and validation by step, without values that are not finite.

    The evaluation that follows the training, on the weights that were chosen, is no point of the curve.

    Raises:
        UserError: metrics.csv is damaged. A last line that was cut short is left out: its run was killed.
    """
    rows = list(_rows(folder / "metrics.csv"))
    last = max((epoch for _, epoch, name, _ in rows if name.startswith("train/")), default=math.inf)

    curves: dict[str, Points] = {}
    for step, epoch, name, value in rows:
        if name.startswith(("train/", "val/")) and epoch <= last and abs(value) < LARGEST:
            curves.setdefault(name, {})[step] = value
    return curves


def _rows(path: Path) -> Iterator[tuple[int, int, str, float]]:
    """Yield step, epoch, name and value of each line that is complete; an empty value is NaN."""
    if not os.path.lexists(path):
        return
    try:
        if not path.is_file():  # a folder, or a pipe, which would be waited for
            raise ValueError("no regular file")
        text = path.read_bytes().decode()
        text = text[: text.rfind("\n") + 1]  # a kill may have cut the last line short
        lines = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if text and not {"step", "epoch", "name", "value"} <= set(lines.fieldnames or ()):
            raise ValueError("another heading")
        for row in lines:
            try:
                yield _row(row)
            except ValueError:
                raise ValueError(f"line {lines.line_num}") from None
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: damaged ({error})") from None


def _row(row: dict[str, str | None]) -> tuple[int, int, str, float]:
    """Raises ValueError where a field is missing or of another type."""
    step, epoch, name, value = (row[key] for key in ("step", "epoch", "name", "value"))
    if step is None or epoch is None or not name or value is None or None in row:
        raise ValueError
    if not (0 <= int(step) < MAX_STEP and 0 <= int(epoch) < MAX_STEP):
        raise ValueError
    return int(step), int(epoch), name, float(value) if value else math.nan

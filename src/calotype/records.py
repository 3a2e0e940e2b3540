"""The records of runs and sweeps, read: whole, of this format, of the right types, and sealed where they are."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calotype.record_types import RUN, check_metrics, check_types
from calotype.record_types import SWEEP as SWEEP_TYPES
from calotype.seal import check_seal
from calotype.types import UserError

SWEEP = "sweep.json"  # in a sweep's folder: its command, its code, and the folders of its jobs
FORMAT = 2  # of run folders and checkpoints; 1 had none written into it


class OtherFormatError(UserError):
    """A run of another version of Calotype."""


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        UserError: the file is missing, or damaged: no JSON object, no Unicode, or with a number that is not finite.
    """
    try:
        if os.path.lexists(path) and not path.is_file():  # a folder, or a pipe, which would be waited for
            raise ValueError("no regular file")
        value = json.loads(path.read_text(encoding="utf-8"), parse_float=_finite_number, parse_constant=_finite_number)
        json.dumps(value, ensure_ascii=False).encode()  # what JSON's escapes can say and Unicode has not
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {path.parent} is not a run folder") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: damaged (not a JSON object)")
    return value


def _finite_number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def read_record(folder: Path) -> dict[str, Any]:
    """Return the run.json of the run in `folder`.

    Of a run that has ended, the checksums of its files are compared with those in the record: a record that is returned
    belongs to the config, the metrics and the curves that lie beside it.

    Raises:
        UserError: a file of it is missing or damaged, or of another version of Calotype.
    """
    path = folder / "run.json"
    record = read_json(path)
    check_format(record, path)
    check_types(record, path, RUN)
    try:
        check_seal(record, folder)
    except UserError:
        # Another process may have taken the run up a moment ago, and write its files again.
        if read_json(path) == record:
            raise
        return read_record(folder)
    return record


def read_metrics(folder: Path) -> dict[str, float | None]:
    """Return the metrics.json of the run in `folder`.

    Raises:
        UserError: it is missing or damaged.
    """
    metrics = read_json(folder / "metrics.json")
    check_metrics(metrics, folder / "metrics.json")
    return metrics


def read_sweep(folder: Path) -> dict[str, Any]:
    """Return the sweep.json of the sweep in `folder`.

    Raises:
        UserError: it is missing or damaged.
    """
    record = read_json(folder / SWEEP)
    check_types(record, folder / SWEEP, SWEEP_TYPES)
    return record


def check_format(record: Mapping[str, Any], path: Path) -> None:
    """Raise OtherFormatError where a run.json is of another version of Calotype."""
    number = record.get("format", 1)
    if number != FORMAT:
        told = f"written by another version of Calotype (format {number}, this one reads {FORMAT}); run it again"
        raise OtherFormatError(f"{path}: {told}")

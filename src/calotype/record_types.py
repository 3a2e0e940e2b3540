"""What the records of a run may hold: the types of `run.json`, `sweep.json` and `metrics.json`, checked where they are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from calotype.types import UserError

STATUSES = ("running", "finished", "failed", "interrupted")
LARGEST = 1e150  # of a metric: larger ones have no standard deviation in double precision

Check = tuple[Callable[[Any], bool], str]  # whether a value is legal, and what it should be


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value) is not None
    except (TypeError, ValueError):
        return False


def _list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _dict_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _or_null(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _is_option(value: Any) -> bool:
    return value is None or _is_text(value) or _list_of(_is_text)(value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _is_change(value: Any) -> bool:
    return isinstance(value, dict) and {"key", "before", "now", "step"} <= set(value) and _is_text(value["key"])


TEXT: Check = (_is_text, "text")
TEXT_OR_NULL: Check = (_or_null(_is_text), "text or null")
TEXTS: Check = (_list_of(_is_text), "list of texts")
TEXTS_BY_NAME: Check = (_dict_of(_is_text), "table of texts")
COUNT: Check = (_is_count, "whole number")
NUMBER: Check = (_is_number, "number")

RUN: dict[str, Check] = {
    "format": COUNT,
    "status": (lambda value: value in STATUSES, f"one of {', '.join(STATUSES)}"),
    "task": TEXT,
    "name": TEXT,
    "seed": COUNT,
    "overrides": TEXTS,
    "choices": (_or_null(_dict_of(_is_option)), "table of options"),
    "config_hash": TEXT,
    "user_code": (_dict_of(_dict_of(_is_plain)), "table of packages"),
    "error": TEXT_OR_NULL,
    "alarms": TEXTS,
    "start": (_is_time, "time"),
    "end": (_is_time, "time"),
    "resumed": (_list_of(_is_time), "list of times"),
    "changes": (_list_of(_is_change), "list of changes"),
    "parent": TEXT_OR_NULL,
    "cwd": TEXT_OR_NULL,
    "host": TEXT,
    "pid": COUNT,
    "process_start": TEXT_OR_NULL,
    "versions": TEXTS_BY_NAME,
    "distributions": TEXTS_BY_NAME,
    "git_commit": TEXT_OR_NULL,
    "git_dirty": (lambda value: value is None or isinstance(value, bool), "true, false or null"),
    "hardware": (_dict_of(_is_plain), "table"),
    "data_hash": TEXT_OR_NULL,
    "split_hash": TEXT_OR_NULL,
    "ended_by": TEXT_OR_NULL,
    "wall_seconds": NUMBER,
    "seconds": (_dict_of(_is_number), "table of numbers"),
    "files": (_dict_of(_is_text), "table of checksums"),
}
SWEEP: dict[str, Check] = {
    "command": TEXTS,
    "folders": TEXTS,
    "packages": TEXTS,
    "code": TEXT,
    "git_commit": TEXT_OR_NULL,
}


def check_types(record: Mapping[str, Any], path: Path, types: Mapping[str, Check]) -> None:
    """Raise UserError for the first key of a record that has a value of another type; keys may be missing."""
    for key, (is_legal, what) in types.items():
        if key in record and not is_legal(record[key]):
            raise UserError(f"{path}: damaged ({key} is not {_shown(what)})")


def check_metrics(metrics: Mapping[str, Any], path: Path) -> None:
    """Raise UserError for the first metric that is neither null nor a number that can be computed with."""
    for name, value in metrics.items():
        if value is not None and not (_is_number(value) and math.isfinite(value)):
            raise UserError(f"{path}: damaged ({name} is no number)")


def _shown(what: str) -> str:
    return what if what.startswith(("one of", "text", "true")) else f"a {what}"

"""Types of numeric options: a number out of range is one line, before anything is loaded."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable

MAX_SEED = 2**63 - 1


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return the type of a whole number of at least `low`, and of at most `high`."""

    def parse(text: str) -> int:
        if re.fullmatch(r"-?[0-9]{1,30}", text) and low <= (value := int(text)) and (high is None or value <= high):
            return value
        to = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise argparse.ArgumentTypeError(f"{text[:40]}: a whole number {to}")

    return parse


def share(text: str) -> float:
    """Parse a number above 0 and below 1."""
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]}: a number above 0 and below 1")
    return value


def not_negative(text: str) -> float:
    """Parse a finite number of at least 0."""
    value = _number(text)
    if not (value >= 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text[:40]}: a number of at least 0")
    return value


def _number(text: str) -> float:
    """NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan

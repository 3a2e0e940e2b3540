"""Which committed figures no longer come from the config that their command composes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from calotype.compose import compose_config
from calotype.schema import config_hash
from calotype.types import UserError


def stale(folder: Path) -> tuple[int, list[str]]:
    """How many files of evidence there are below `folder`, and a line for each whose command now composes another config, or none.

    Raises:
        UserError: there is no evidence.
    """
    files = [path for path in sorted(folder.rglob("*.json")) if any(key in path.read_text() for key in ('"command"', '"config_hash"'))]
    if not files:
        raise UserError(f"{folder}: no evidence below it (files by experiments/record.py, with a command and a config_hash)")
    return len(files), [f"{path}: {told}" for path in files if (told := _difference(path)) is not None]


def _difference(path: Path) -> str | None:
    try:
        evidence = json.loads(path.read_text())
        overrides = evidence["overrides"] if "overrides" in evidence else shlex.split(evidence["command"])[1:]
        before = evidence["config_hash"]
    except (ValueError, KeyError) as error:
        return f"damaged ({error})"
    try:
        now = config_hash(compose_config(overrides))
    except Exception as error:  # a recipe that is gone, a key that is: Hydra has many kinds of them
        return f"the command composes no config any more ({' '.join(str(error).split())[:200]})"
    return None if now == before else f"the config was {before} and is {now} now: calotype {shlex.join(overrides)}"

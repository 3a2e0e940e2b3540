"""Which committed figures no longer come from the config that their command composes."""

from __future__ import annotations

import shlex
from pathlib import Path

from calotype.compose import compose_config
from calotype.record_types import TEXT, TEXTS, check_types
from calotype.records import read_json
from calotype.schema import config_hash
from calotype.types import UserError


def stale(folder: Path) -> tuple[int, list[str]]:
    """How many files of evidence there are below `folder`, and a line for each whose command now composes another config, or none.

    Raises:
        UserError: there is no evidence.
    """
    marks = (b'"command"', b'"config_hash"')
    found = [path for path in sorted(folder.rglob("*.json")) if path.is_file()]
    files = [path for path in found if any(mark in path.read_bytes() for mark in marks)]
    if not files:
        raise UserError(f"{folder}: no evidence below it (files by experiments/record.py, with a command and a config_hash)")
    return len(files), [f"{path}: {told}" for path in files if (told := _difference(path)) is not None]


def _difference(path: Path) -> str | None:
    try:
        evidence = read_json(path)
        if not ("command" in evidence or "overrides" in evidence) or "config_hash" not in evidence:
            raise ValueError("no command, or no config_hash")
        check_types(evidence, path, {"overrides": TEXTS, "command": TEXT, "config_hash": TEXT})
        overrides = evidence["overrides"] if "overrides" in evidence else shlex.split(evidence["command"])[1:]
        before = evidence["config_hash"]
    except ValueError as error:
        told = str(error).removeprefix(f"{path}: ")
        return told if told.startswith("damaged") else f"damaged ({told})"
    try:
        now = config_hash(compose_config(overrides))
    except Exception as error:  # a recipe that is gone, a key that is: Hydra has many kinds of them
        return f"the command composes no config any more ({' '.join(str(error).split())[:200]})"
    return None if now == before else f"the config was {before} and is {now} now: calotype {shlex.join(overrides)}"

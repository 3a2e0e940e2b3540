"""Reads the config.yaml of a run as plain values: no Hydra node, no defaults list, no objects, no aliases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from calotype.types import UserError

BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where PyYAML has it: ten times as fast
MAX_BYTES = 10_000_000  # a config has some thousands
MAX_DEPTH = 50  # a config has some five
TABLES = ("task", "data", "trainer", "hardware", "paths")  # what every run has, and what reads a run reaches into
PARTS = ("dataset", "model", "loss", "optimizer", "scheduler", "callbacks", "logger")  # tables too, or null


class _Loader(BASE):
    """Reads numbers as OmegaConf does: 1e-3 is one, and a date is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in BASE.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789"))


def read_config(path: Path) -> dict[str, Any]:
    """Return the content of a config.yaml.

    Raises:
        UserError: it cannot be read, is not YAML, holds an object or an alias, or is no mapping.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a file")  # a pipe would be waited for
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise UserError(f"{path}: damaged (more than {MAX_BYTES} bytes)")
        text = raw.decode()

        _refuse_bombs(text, path)
        config = yaml.load(text, Loader=_Loader)  # noqa: S506 - derived from the safe loader
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path}: damaged ({_first_line(error)})") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: damaged (no config)")
    try:
        return {_key(key): _plain(value) for key, value in config.items()}
    except ValueError as error:
        raise UserError(f"{path}: damaged ({' '.join(str(error).split())})") from None


def check_run_config(config: dict[str, Any], path: Path) -> None:
    """Raise UserError where a config is not that of a run: one of its groups is missing, or no table."""
    for key in TABLES:
        if not isinstance(config.get(key), dict):
            raise UserError(f"{path}: damaged (it has no {key})")
    for key in PARTS:
        if not isinstance(config.get(key), dict | None):
            raise UserError(f"{path}: damaged ({key} is no table)")
    target = config["task"].get("_target_")
    if not (isinstance(target, str) and target.count(".") >= 2 and all(target.split("."))):
        raise UserError(f"{path}: damaged (task._target_ is no name of a class)")


def _plain(value: Any) -> Any:
    """Return a copy of plain values; raise ValueError for all others."""
    if isinstance(value, dict):
        return {_key(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, str):
        value.encode()  # a UnicodeEncodeError is a ValueError
    elif value is not None and not isinstance(value, bool | int | float):
        raise ValueError(f"{type(value).__name__} where text or a number belongs")
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("a number of more than 64 bits")
    return value


def _key(key: Any) -> str:
    if not isinstance(key, str | int | float):
        raise ValueError(f"{type(key).__name__} as a key")
    return str(key)


def _refuse_bombs(text: str, path: Path) -> None:
    """Raise UserError at what no run writes: some aliases of aliases are billions of keys, and nesting ends in Python's stack."""
    depth = 0
    for event in yaml.parse(text, Loader=BASE):
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"{path}: damaged (it holds a YAML alias)")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise UserError(f"{path}: damaged (nested more than {MAX_DEPTH} times)")


def _first_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f", line {mark.line + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or ' '.join(str(error).split())}{place}"

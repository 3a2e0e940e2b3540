"""Paths as they are typed: which keys hold one, and `~` in front of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Last parts of the keys whose value is a path.
PLACE_KEYS = frozenset(
    {
        *("root", "path", "clean", "file", "folder", "dir", "data_dir", "output_dir", "save_dir", "dirpath", "artifact_location"),
        *("resume", "init_from", "classifier", "style", "content_masks", "style_masks", "pairs_file", "weights", "inception"),
    }
)


def is_place(key: str) -> bool:
    """Return whether the value of this key of a config, `dataset.root`, is a path."""
    return key.rpartition(".")[2] in PLACE_KEYS


def expanded(path: str | Path) -> Path:
    """Return the path with `~` or `~user` in front as the folder that it stands for; of an unknown user it stays as it is."""
    return Path(os.path.expanduser(path))  # pathlib's own raises where there is no such user


def with_home(value: Any, key: str = "") -> Any:
    """Return plain values of a config in which the paths have their `~` replaced."""
    if isinstance(value, dict):
        return {name: with_home(one, str(name)) for name, one in value.items()}
    if isinstance(value, list):
        return [with_home(one, key) for one in value]
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~") and is_place(key) else value

"""A file that is replaced whole or not at all: what every writer of the framework goes through."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_NAME = 255  # bytes of a file's name


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what was written there takes its place at the end, and goes if anything fails."""
    ending = f".{os.getpid()}.part"
    name = path.name
    if len(os.fsencode(name + ending)) > MAX_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    partial = path.with_name(name + ending)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise

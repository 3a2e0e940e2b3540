"""A file that is replaced whole or not at all: what every writer of the framework goes through."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MAX_NAME = 255  # bytes of a file's name


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what was written there takes its place at the end, and goes if anything fails.

    Raises:
        OSError: there is a folder, a device or a pipe of that name, which a file must not replace; or the disk refuses.
    """
    if os.path.lexists(path) and not path.is_file():
        raise OSError(errno.EEXIST, "no regular file, and not replaced", str(path))
    ending = f".{os.getpid()}.part"
    name = path.name
    if len(os.fsencode(name + ending)) > MAX_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    partial = path.with_name(name + ending)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):  # of a disk that is read-only now
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(partial)):
            error.filename = str(path)  # which is what a user knows
        raise

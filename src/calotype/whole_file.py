"""A file that is replaced whole or not at all: what every writer of the framework goes through."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from calotype.causes import causes

MAX_NAME = 255  # bytes of a file's name
FULL = (errno.ENOSPC, errno.EDQUOT)
FREE = 2**16  # bytes below which a disk is full, for a writer that does not say why it stopped


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
        of_the_disk = _fault_of_the_disk(error, path)
        with suppress(OSError):  # of a disk that is read-only now
            partial.unlink(missing_ok=True)
        if of_the_disk is not None:
            raise of_the_disk from error
        if isinstance(error, OSError) and error.filename in (None, str(partial)):
            error.filename = str(path)  # which is what a user knows
        raise


def _fault_of_the_disk(error: BaseException, path: Path) -> OSError | None:
    """Return the full disk behind what a writer raised: matplotlib falls over it as it closes, torch raises a kind of its own."""
    if not isinstance(error, Exception) or (isinstance(error, OSError) and error.errno is not None):
        return None
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.errno in FULL:
            return OSError(cause.errno, os.strerror(cause.errno), str(path))

    with suppress(OSError):
        if shutil.disk_usage(path.parent).free < FREE:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    return None

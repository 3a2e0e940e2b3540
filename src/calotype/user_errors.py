"""What of the errors of a run is the user's to mend."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from calotype.types import UserError


def as_user_error(error: BaseException) -> UserError | None:
    """The one line for what is the user's to mend; None for a fault of the program's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            # A worker process sends its traceback as the message.
            worker = "Original Traceback" in str(cause)
            return UserError(str(cause).rstrip().rpartition("UserError: ")[2]) if worker else cause
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return UserError(f"the disk is full{f' ({cause.filename})' if cause.filename else ''}: free some space, then resume the run")
        if isinstance(cause, RuntimeError) and "loading state_dict" in str(cause):
            return UserError(other_model(Path("checkpoints/last.ckpt"), cause))
        if isinstance(cause, RuntimeError) and (watched := re.search(r"metric `(\S+)` which is not available", str(cause))):
            return UserError(f"callbacks: {watched[1]} is watched, and this data gives no such metric; give another callbacks.NAME.monitor")
        cause = cause.__cause__ or cause.__context__
    return None


def other_model(path: Path, error: BaseException) -> str:
    """Of weights that do not fit."""
    lines = [line.strip() for line in str(error).splitlines()]
    return f"{path}: a checkpoint of another model ({lines[1] if len(lines) > 1 else lines[0]})"[:300]

"""What of the errors of a run is the user's to mend."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from calotype.causes import causes
from calotype.types import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full (the quota is used up)",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
}
PATHS = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOENT, errno.EIO)  # what a path may have
REMEDY = {True: "free some space", False: "make it writable"}


def disk_error(error: OSError) -> str | None:
    """Return one line where a disk takes nothing more, or a path leads nowhere; None for all other errors."""
    reason = DISK.get(error.errno or 0)
    if reason is None:
        is_of_a_path = error.errno in PATHS and error.filename
        return f"{str(error.filename)[-100:]}: {error.strerror}; give another path" if is_of_a_path else None
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{reason}; {REMEDY[error.errno in FULL]}, or give another folder; files that were there are as they were"


def as_user_error(error: BaseException) -> UserError | None:
    """The one line for what is the user's to mend; None for a fault of the program's."""
    for cause in causes(error):
        if isinstance(cause, UserError):
            # A worker process sends its traceback as the message.
            worker = "Original Traceback" in str(cause)
            return UserError(re.split(r"\n[\w.]*Error: ", str(cause).rstrip())[-1]) if worker else cause
        if isinstance(cause, OSError) and (reason := DISK.get(cause.errno or 0)):
            where = f" ({cause.filename})" if cause.filename else ""
            return UserError(f"{reason}{where}: {REMEDY[cause.errno in FULL]}, then resume the run")
        if isinstance(cause, RuntimeError) and "loading state_dict" in str(cause):
            return UserError(other_model(Path("checkpoints/last.ckpt"), cause))
        if isinstance(cause, RuntimeError) and (watched := re.search(r"metric `(\S+)` which is not available", str(cause))):
            return UserError(f"callbacks: {watched[1]} is watched, and this data gives no such metric; give another callbacks.NAME.monitor")
        if isinstance(cause, RuntimeError) and (operation := re.match(r"(\S+) does not have a deterministic implementation", str(cause))):
            return UserError(
                f"hardware.deterministic=true: {operation[1]} cannot give the same result twice; "
                "hardware.deterministic=false allows it, and last digits differ from run to run"
            )
        if isinstance(cause, RuntimeError) and (lacking := re.search(r"out of memory|can't allocate memory", str(cause))):
            where = "of the GPU" if "CUDA" in str(cause) else "of this machine"
            return UserError(f"the memory {where} is full ({lacking[0]}): give smaller images or batches, as data.batch_size=16")
        if isinstance(cause, ValueError) and (interval := re.search(r"`val_check_interval` \((\S+)\) must be less", str(cause))):
            few = re.search(r"training batches \((\d+)\)", str(cause))
            batches = f"the {few[1]} training batches" if few else "the training batches"
            return UserError(
                f"trainer.val_check_interval={interval[1]}: more than {batches} of an epoch; give fewer, or a share of them as 0.5"
            )
    return None


def other_model(path: Path, error: BaseException) -> str:
    """Of weights that do not fit."""
    lines = [line.strip() for line in str(error).splitlines()]
    return f"{path}: a checkpoint of another model ({lines[1] if len(lines) > 1 else lines[0]})"[:300]

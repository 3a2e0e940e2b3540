"""The run folder: what is written there, whole or not at all, and the record of how the run went."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import math
import os
import platform
import re
import socket
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from calotype.types import UserError
from calotype.whole_file import whole_file

MAIN_PACKAGES = (
    "calotype",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "torchmetrics",
    "hydra-core",
    "omegaconf",
    "numpy",
    "scikit-learn",
)
SWEEP = "sweep.json"  # in a sweep's folder: its command, its code, and the folders of its jobs
FORMAT = 2  # of run folders and checkpoints; 1 had none written into it
RESERVE = ".reserve"
RESERVE_BYTES = 65536


def shown(path: Path) -> str:
    """The path as a person would type it from here."""
    with contextlib.suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


def write_text(path: Path, text: str) -> None:
    """A reader sees the old file or the new one."""
    with whole_file(path) as partial:
        partial.write_text(text)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Raises UserError where the file is missing or damaged."""
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {path.parent} is not a run folder") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: damaged (not a JSON object)")
    return value


def check_format(record: Mapping[str, Any], path: Path) -> None:
    """Raises UserError where the record is of another version's format."""
    found = record.get("format", 1)
    if found != FORMAT:
        raise UserError(f"{path}: written by another version of Calotype (format {found}, this one reads {FORMAT}); run it again")


def is_begun(folder: Path) -> bool:
    """Whether a run has claimed the folder; an empty run.json was left by one that was killed before it began."""
    path = folder / "run.json"
    return path.is_file() and path.stat().st_size > 0


class RunRecord:
    """run.json, from `running` to how it ended. Also keeps a little disk free, so that the end of a run on a full disk can be told."""

    def __init__(self, folder: Path, fields: dict[str, Any]) -> None:
        self.path = folder / "run.json"
        self.fields = fields
        (folder / RESERVE).write_bytes(b"\0" * RESERVE_BYTES)
        self._write()

    @staticmethod
    def note_failure(folder: Path, error: str) -> None:
        """Of a further process of the run, whose end takes the first one with it."""
        record = read_json(folder / "run.json")
        write_json(folder / "run.json", {**record, "status": "failed", "error": error})

    @classmethod
    def start(cls, folder: Path, **fields: Any) -> RunRecord:
        """Claim `folder` for a new run.

        Raises:
            UserError: a run lies there already.
        """
        folder.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(folder / "run.json", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            raise UserError(f"{folder} holds a run already: give another hydra.run.dir, or go on with it by resume={folder}") from None
        about = {**_now("start"), **process(), **packages(), **git_state()}
        return cls(folder, {"format": FORMAT, "status": "running", **fields, **about})

    @classmethod
    def go_on(cls, folder: Path, **fields: Any) -> RunRecord:
        """Take up the cut-off run in `folder`.

        Raises:
            UserError: it is finished, or still running.
        """
        old = read_json(folder / "run.json")
        if old.get("status") == "finished":
            raise UserError(f"{folder} is finished; its figures are in metrics.json (calotype-rerun runs it again)")
        if is_running(old):
            raise UserError(f"{folder} is still running (process {old['pid']})")
        resumed = [*old.get("resumed", []), datetime.now(UTC).isoformat()]
        now = {**packages(), **git_state()}
        return cls(folder, {**old, **fields, "status": "running", "error": None, "resumed": resumed, **process(), **now})

    def update(self, **fields: Any) -> None:
        self.fields |= fields
        self._write()

    def finish(self, status: str, *, error: str | None = None) -> None:
        (self.path.parent / RESERVE).unlink(missing_ok=True)
        end = datetime.now(UTC)
        seconds = (end - datetime.fromisoformat(self.fields["start"])).total_seconds()
        self.update(status=status, error=error, end=end.isoformat(), wall_seconds=round(seconds, 3))

    def _write(self) -> None:
        write_json(self.path, self.fields)


def process() -> dict[str, Any]:
    return {"pid": os.getpid(), "process_start": _process_start(os.getpid()), "host": socket.gethostname()}


def packages() -> dict[str, Any]:
    """Return `versions`, a short list for people, and `distributions`, all that rebuild the environment."""
    installed = distributions()

    main = {name: installed[name] for name in MAIN_PACKAGES if name in installed}
    return {"versions": {"python": platform.python_version(), **main}, "distributions": installed}


@functools.cache
def distributions() -> dict[str, str]:
    """Return the version of every installed distribution by its normalized name, sorted.

    Names are normalized as the packaging standard does: `PyYAML` is `pyyaml`. Read once in a process.
    """
    installed: dict[str, str] = {}

    for distribution in importlib.metadata.distributions():
        metadata = distribution.metadata

        # An interrupted installation leaves folders without a name, or without a version.
        if "Name" in metadata and "Version" in metadata:
            # The path is searched in the order of imports, so that the first one is the one in use.
            installed.setdefault(re.sub(r"[-_.]+", "-", metadata["Name"]).lower(), metadata["Version"])

    return dict(sorted(installed.items()))


def git_state() -> dict[str, Any]:
    """The commit of the checkout the package runs from, and whether it was changed; nulls outside a checkout."""

    def git(*arguments: str) -> str | None:
        try:
            command = ["git", "-C", str(Path(__file__).parent), *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed package may lie below somebody else's checkout: only a tracked file makes this one ours.
    if not git("ls-files", "--", Path(__file__).name):
        return {"git_commit": None, "git_dirty": None}
    status = git("status", "--porcelain")
    return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": None if status is None else bool(status)}


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Sorted, and null where a figure is not finite: JSON knows no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in sorted(metrics.items())}


def _now(name: str) -> dict[str, str]:
    return {name: datetime.now(UTC).isoformat()}


def _process_start(pid: int) -> str | None:
    """When the process started, as Linux tells it: a number that is used again later is another process."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if told[0] == "Z" else told[19]  # a killed one stays as a zombie until its parent looks for it
    except (OSError, IndexError):
        return None


def is_running(record: Mapping[str, Any]) -> bool:
    """Whether the process of a run.json is still at it, as far as can be told from this host."""
    return record.get("status") == "running" and record.get("host") == socket.gethostname() and _alive(record)


def was_cut_off(record: Mapping[str, Any]) -> bool:
    """Whether a run of this host says that it is running, and its process is gone."""
    return record.get("status") == "running" and record.get("host") == socket.gethostname() and not _alive(record)


def _alive(old: Mapping[str, Any]) -> bool:
    pid = int(old.get("pid") or 0)
    if pid <= 0 or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _process_start(pid) == old.get("process_start")

"""The run folder: what is written there, whole or not at all, and the record of how the run went."""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib.metadata
import json
import math
import os
import platform
import re
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from calotype.console import echo, printable
from calotype.records import FORMAT, read_json, read_record
from calotype.seal import sealed, unsealed
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
CONFIG = "config.yaml"
RESERVE = ".reserve"
RESERVE_BYTES = 65536
HEARTBEAT = ".heartbeat"  # its modification time says when the run was last alive; its lock guards the claim
HEARTBEAT_SECONDS = 30.0
HEARTBEAT_MAX_AGE = 300.0  # seconds; after that a run of another host counts as cut off
MAX_NAME_BYTES = 200  # file systems take 255
POLL_SECONDS = 1.0  # between two looks at a run that another process is at


class TakenError(UserError):
    """Another process has the run, or has finished it."""


INPUTS = "inputs.json"  # of a run folder: statistics of the training images


def shown(path: Path) -> str:
    """The path as a person would type it from here."""
    with contextlib.suppress(ValueError):
        return printable(str(path.resolve().relative_to(Path.cwd())))
    return printable(str(path))


def is_name(text: str) -> bool:
    """Return whether `text` can name a file or folder in another one: no path, nothing unprintable, at most 200 bytes."""
    is_path = text in (".", "..") or "/" in text or "\\" in text
    return bool(text.strip()) and not is_path and printable(text) == text and len(text.encode()) <= MAX_NAME_BYTES


def write_text(path: Path, text: str) -> None:
    """A reader sees the old file or the new one."""
    with whole_file(path) as partial:
        partial.write_text(text)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


class RunRecord:
    """run.json, from `running` to how it ended.

    While the run lasts, a thread keeps the heartbeat fresh, by which other hosts know that it is alive. A little disk is
    reserved, so that the end of a run on a full disk can be recorded.
    """

    def __init__(self, folder: Path, fields: dict[str, Any]) -> None:
        self.path = folder / "run.json"
        self.fields = fields
        self._ended = threading.Event()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    @staticmethod
    def note_failure(folder: Path, error: str) -> None:
        """Of a further process of the run, whose end takes the first one with it."""
        record = read_json(folder / "run.json")
        write_json(folder / "run.json", {**record, "status": "failed", "error": error})

    @classmethod
    def start(cls, folder: Path, *, config: str = "", **fields: Any) -> RunRecord:
        """Claim `folder` for a new run.

        Args:
            config: text of config.yaml, which is there before run.json: a run that has begun can be resumed.
            fields: of run.json.

        Raises:
            TakenError: a run lies there already.
            UserError: the folder cannot be written, for instance because the disk is full; nothing is left behind.
        """
        record = {"format": FORMAT, "status": "running", **fields, **_now("start"), **process()}
        record |= {**packages(), **git_state()}

        try:
            _make_folder(folder)
            with _claim(folder):
                if has_begun(folder):
                    raise FileExistsError
                try:
                    _reserve(folder)
                    (folder / "run.json").unlink(missing_ok=True)  # an empty one: its run has not begun
                    if config:
                        write_text(folder / CONFIG, config)
                    _create_json(folder / "run.json", record)
                except FileExistsError:
                    raise
                except OSError:
                    for name in (RESERVE, HEARTBEAT, CONFIG):
                        (folder / name).unlink(missing_ok=True)
                    raise
        except FileExistsError:
            told = f"{folder} holds a run already: give another hydra.run.dir, or go on with it by resume={folder}"
            raise TakenError(told) from None
        except OSError as error:
            with contextlib.suppress(OSError):
                folder.rmdir()  # it is empty where nothing else lies there
            told = f"{folder}: the run cannot begin ({error.strerror}); free some space or give another folder"
            raise UserError(told) from None

        return cls(folder, record)

    @classmethod
    def go_on(cls, folder: Path, *, config: str = "", **fields: Any) -> RunRecord:
        """Take up the cut-off run in `folder`.

        Args:
            config: text of config.yaml, which takes the place of the one that is there; none to leave it.
            fields: of run.json, which take the place of those that are there.

        Raises:
            TakenError: it is finished, or still running.
            UserError: it is of another format, or the folder cannot be written.
        """
        _refuse_finished(folder)  # before the claim, which writes
        try:
            with _claim(folder):
                old = unsealed(_refuse_finished(folder))
                if is_running(old, folder):
                    raise TakenError(f"{folder} is still running (process {old.get('pid')} of {old.get('host')})")

                resumed = [*old.get("resumed", []), datetime.now(UTC).isoformat()]
                now = {**packages(), **git_state()}
                record = {**_now("start"), **old, **fields, "status": "running", "error": None, "resumed": resumed, **process(), **now}
                _reserve(folder)
                if config:
                    # Before its config: from now on nobody compares the files with the checksums of the earlier end.
                    write_json(folder / "run.json", {**old, "status": "running", **process()})
                    write_text(folder / CONFIG, config)
                write_json(folder / "run.json", record)
        except OSError as error:
            raise UserError(f"{folder}: the run cannot go on ({error.strerror}); free some space, then resume it") from None

        return cls(folder, record)

    def update(self, **fields: Any) -> None:
        self.fields |= fields
        write_json(self.path, self.fields)

    def finish(self, status: str, *, error: str | None = None) -> None:
        self._ended.set()
        (self.path.parent / RESERVE).unlink(missing_ok=True)
        end = datetime.now(UTC)
        seconds = (end - _utc(self.fields["start"])).total_seconds()
        with contextlib.ExitStack() as stack:
            # A process that waits for this claim must find the lock file gone when it gets it, and make a new one.
            with contextlib.suppress(OSError):
                stack.enter_context(locked(self.path.parent / HEARTBEAT))
            told = {"status": status, "error": error, "end": end.isoformat(), "wall_seconds": round(seconds, 3)}
            self.update(**sealed({**self.fields, **told}, self.path.parent))
            (self.path.parent / HEARTBEAT).unlink(missing_ok=True)

    def _beat(self) -> None:
        """Refresh the heartbeat until the run ends; a disk that does not answer must not fail the run."""
        while not self._ended.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self.path.parent / HEARTBEAT)


@contextlib.contextmanager
def locked(path: Path, waiting: str = "") -> Iterator[None]:
    """Hold the lock of the file `path`, which is created where it is missing; wait while another process holds it.

    Args:
        path: of the file; whoever holds the lock may remove it.
        waiting: what to print where the lock is not free.

    The system gives the lock back when the process ends, however it ends. Where there are no locks (Windows, some network
    file systems) nothing is guarded.
    """
    while True:
        with path.open("a") as file:
            with contextlib.suppress(ImportError, OSError):
                import fcntl

                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if waiting:
                        echo(waiting)
                    fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_same(path, file):  # who held it has removed it
                continue
            yield
            return


def _is_same(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _claim(folder: Path) -> Iterator[None]:
    """One process at a time decides whose run it is; the heartbeat is fresh when that is known."""
    with locked(folder / HEARTBEAT):
        yield
        with contextlib.suppress(OSError):
            os.utime(folder / HEARTBEAT)


def _make_folder(folder: Path) -> None:
    """Raises NotADirectoryError where a file has its name."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None


def _reserve(folder: Path) -> None:
    (folder / RESERVE).write_bytes(b"\0" * RESERVE_BYTES)


def _create_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a new file that appears with its content.

    Raises:
        FileExistsError: there is one.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        write_json(partial, value)
        try:
            os.link(partial, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if path.exists():
                raise FileExistsError(path) from None
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def has_begun(folder: Path) -> bool:
    """Return whether a run lies in `folder`; an empty run.json is one that has not begun.

    What cannot be read has begun: who reads it says what is wrong.
    """
    try:
        found = (folder / "run.json").stat()
    except (NotADirectoryError, ValueError):  # the second: a null character in the name
        return False
    except OSError:  # it is missing, or is a link that leads nowhere
        return os.path.lexists(folder / "run.json")
    return found.st_size > 0 or not stat.S_ISREG(found.st_mode) or (folder / "metrics.json").exists()


def _refuse_finished(folder: Path) -> dict[str, Any]:
    """Return the record of an unfinished run of this format, or raise."""
    record = read_record(folder)
    if record.get("status") == "finished":
        told = "its metrics are in metrics.json (calotype-rerun runs it again)"
        raise TakenError(f"{folder} is finished; {told}")
    return record


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


def git_state(file: Path | None = None) -> dict[str, Any]:
    """Return the commit of the checkout that `file` is tracked in, and whether its package is changed; nulls outside one.

    Args:
        file: a file of the package; by default the checkout that Calotype runs from is meant, all of it.
    """
    tracked = Path(__file__) if file is None else file

    def git(*arguments: str) -> str | None:
        try:
            command = ["git", "-C", str(tracked.parent), *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=10)  # noqa: S603 - no shell, arguments of ours
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed package may lie below somebody else's checkout: only a tracked file makes this one ours.
    if not git("ls-files", "--", tracked.name):
        return {"git_commit": None, "git_dirty": None}
    status = git("status", "--porcelain", *([] if file is None else ["--", "."]))
    return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": None if status is None else bool(status)}


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Sorted, and null where a figure is not finite: JSON knows no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in sorted(metrics.items())}


def _now(name: str) -> dict[str, str]:
    return {name: datetime.now(UTC).isoformat()}


def _utc(time: str) -> datetime:
    """Return a time of a record, which is in UTC where it does not say otherwise."""
    parsed = datetime.fromisoformat(time)
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)


def _process_start(pid: int) -> str | None:
    """When the process started, as Linux tells it: a number that is used again later is another process."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if told[0] == "Z" else told[19]  # a killed one stays as a zombie until its parent looks for it
    except (OSError, IndexError):
        return None


def is_running(record: Mapping[str, Any], folder: Path) -> bool:
    """Return whether the process of the run.json in `folder` is still at it.

    On this host its process number and start tell. A run of another host is alive while its heartbeat is fresh.
    """
    if record.get("status") != "running":
        return False
    if record.get("host") == socket.gethostname():
        return is_alive(record)
    return _last_alive(folder) > time.time() - HEARTBEAT_MAX_AGE


def was_cut_off(record: Mapping[str, Any], folder: Path) -> bool:
    """Return whether a run says that it is running, and is not."""
    return record.get("status") == "running" and not is_running(record, folder)


def wait_while_running(folder: Path) -> bool:
    """Wait until no other process is at the run in `folder`; return whether one was."""
    waited = False
    while has_begun(folder) and is_running(record := read_record(folder), folder):
        if not waited:
            who = f"process {record.get('pid')} of {record.get('host')}"
            echo(f"waiting for  {shown(folder)}, which runs elsewhere ({who})")
        waited = True
        time.sleep(POLL_SECONDS)
    return waited


def _last_alive(folder: Path) -> float:
    """The newest modification time of the heartbeat and of run.json, seconds since 1970; 0 where there is none."""
    times = [0.0]
    for name in (HEARTBEAT, "run.json"):
        with contextlib.suppress(OSError):
            times.append((folder / name).stat().st_mtime)
    return max(times)


def is_alive(old: Mapping[str, Any]) -> bool:
    """Return whether another process of this host, as `process` describes it, is alive."""
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

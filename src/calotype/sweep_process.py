"""Ties the worker processes of a sweep to the process that started it: they end when it is gone."""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from calotype.run_folder import is_alive, process

VARIABLE = "CALOTYPE_SWEEP_PROCESS"  # who started the sweep; worker processes inherit it
POLL_SECONDS = 1.0
GRACE_SECONDS = 60.0  # for an interrupted run to write how it ended

_busy = threading.Event()  # a job runs in this process
_watching = False


@contextlib.contextmanager
def started_here() -> Iterator[None]:
    """Make this process known to the workers that are started meanwhile."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = json.dumps(process())
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE)
        else:
            os.environ[VARIABLE] = before


@contextlib.contextmanager
def ends_with_sweep() -> Iterator[None]:
    """Run a job of a worker process, which is interrupted when the process that started the sweep is gone."""
    global _watching
    starter = json.loads(os.environ.get(VARIABLE, "{}"))
    if not starter or starter["pid"] == os.getpid():
        yield
        return
    _busy.set()
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored under nohup, by which jobs are interrupted
    if not _watching:
        _watching = True
        threading.Thread(target=_watch, args=(starter,), name="sweep", daemon=True).start()
    try:
        with contextlib.redirect_stdout(_Deaf(sys.stdout)), contextlib.redirect_stderr(_Deaf(sys.stderr)):
            yield
    finally:
        _busy.clear()


class _Deaf:
    """A stream whose reader may be gone, with the process that started the sweep: that must not fail the run."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(BrokenPipeError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._stream.flush()


def _watch(starter: dict[str, object]) -> None:
    """Interrupt the job and leave when the starter is gone: nobody else would end an idle worker for minutes."""
    while is_alive(starter):
        time.sleep(POLL_SECONDS)
    if _busy.is_set():
        _thread.interrupt_main()
    deadline = time.monotonic() + GRACE_SECONDS
    while _busy.is_set() and time.monotonic() < deadline:
        time.sleep(0.05)
    os._exit(130)

"""run.log: what a run printed, its warnings, and the whole traceback of what ended it."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

LOG = "run.log"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\].*?(\x07|\x1b\\)")  # colours and cursor of a terminal


class Copied(io.TextIOBase):
    """A text stream whose lines are also written to a log; all else is the stream's own.

    What a terminal is shown to redraw (progress bars) is no line and stays out of the log.
    """

    def __init__(self, stream: Any, log: IO[str]) -> None:
        self.stream = stream
        self.log = log

    def write(self, text: str) -> int:
        try:
            self.stream.write(text)
        except BrokenPipeError:  # as in `calotype | head -1`: the run is interrupted, and can be resumed
            raise KeyboardInterrupt from None
        is_redrawn = "\r" in text or ("\x1b[" in text and ("\x1b[2K" in text or "\x1b[1A" in text))
        if not is_redrawn:
            with contextlib.suppress(OSError, ValueError):  # a full disk must not end the run
                self.log.write(CONTROL.sub("", text))
                self.log.flush()
        return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except BrokenPipeError:
            raise KeyboardInterrupt from None

    def close(self) -> None:
        """Leave the stream alone, which is others': Python closes this object as it ends, when theirs may be closed."""

    def isatty(self) -> bool:
        return bool(self.stream.isatty())

    def fileno(self) -> int:
        return int(self.stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Within it, standard output, standard error and log records are also appended to `folder`/run.log.

    An exception is written with its whole traceback, and goes on.
    """
    try:
        log = (folder / LOG).open("a", encoding="utf-8", errors="backslashreplace")
    except OSError:
        yield  # no place for a log; the run says by itself what that means for it
        return

    before = sys.stdout, sys.stderr
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    with log:
        print(f"--- {datetime.now(UTC).isoformat(timespec='seconds')}", file=log, flush=True)
        logging.getLogger().addHandler(handler)
        sys.stdout, sys.stderr = Copied(before[0], log), Copied(before[1], log)
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                traceback.print_exc(file=log)
            raise
        finally:
            sys.stdout, sys.stderr = before
            logging.getLogger().removeHandler(handler)

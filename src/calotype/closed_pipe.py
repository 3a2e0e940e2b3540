"""An output that nobody reads any more, as in `calotype-report RUN | head -1`: the command ends, and says nothing of it."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

INTERRUPTED = 130
CLOSED = 141  # 128 + SIGPIPE, the exit code of what a closed pipe ends


def command(main: Callable[..., None]) -> Callable[..., None]:
    """Wrap the main function of a command: it ends quietly with exit code 141 where its output is closed.

    Text that the terminal's encoding has not is printed as escapes.
    """

    @functools.wraps(main)
    def wrapped(arguments: Sequence[str] | None = None) -> None:
        with contextlib.suppress(AttributeError, OSError, ValueError):  # a notebook's, or a test's
            sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        try:
            try:
                with _logging_stops():
                    main(arguments)
            finally:
                sys.stdout.flush()  # not at the interpreter's end, which would print a traceback
        except BrokenPipeError:
            if not _is_any_closed():  # another pipe, of a worker process
                raise
            raise SystemExit(CLOSED) from None
        except SystemExit as end:  # a run that was interrupted by it
            if end.code == INTERRUPTED and _is_any_closed():
                raise SystemExit(CLOSED) from None
            raise

    return wrapped


@contextlib.contextmanager
def _logging_stops() -> Iterator[None]:
    """Let a closed pipe end what logs to it; the logging module prints a traceback for each line instead, and goes on."""
    before = logging.Handler.handleError

    def handle(self: logging.Handler, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, BrokenPipeError):
            raise error
        before(self, record)

    logging.Handler.handleError = handle  # type: ignore[method-assign]
    try:
        yield
    finally:
        logging.Handler.handleError = before  # type: ignore[method-assign]


def _is_any_closed() -> bool:
    """Return whether an output is closed; one that is, goes to the null device, and with it what it still holds."""
    closed = [stream for stream in (sys.stdout, sys.stderr) if _is_closed(stream)]
    for stream in closed:
        _forget(stream)
    return bool(closed)


def _is_closed(stream: Any) -> bool:
    try:
        stream.flush()
        watch = select.poll()
        watch.register(stream.fileno(), 0)  # errors are told unasked
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in watch.poll(0))
    except BrokenPipeError:
        return True
    except (AttributeError, OSError, ValueError):  # no pipe: of a notebook, or of a system without poll
        return False


def _forget(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)

"""A user's mistake in one line: what every command does with errors. Light to import, as `cli`."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from calotype.causes import is_interruption
from calotype.check import is_of_a_group, nearest, tell_hydra
from calotype.closed_pipe import INTERRUPTED
from calotype.console import complain
from calotype.places import expanded
from calotype.types import UserError
from calotype.user_errors import disk_error

USAGE_ERROR, RUN_ERROR = 2, 1
TRUST = "let the run's config name any code, which is executed: of your own runs, or of somebody whom you trust"


class Parser(argparse.ArgumentParser):
    """Takes options by their whole names, and tells a mistake in one line with the nearest legal name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            legal = [name for action in self._actions for name in action.option_strings]
            self.error(f"{unknown[0]}: no such argument{nearest(unknown[0].partition('=')[0], legal)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        if wrong := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            message = message.replace(
                wrong[0],
                f"{wrong[1]}: no such choice{nearest(wrong[1], re.findall('[^ ,]+', wrong[2].replace(chr(39), '')))}"
                f" ({wrong[2].replace(chr(39), '')})",
            )
        raise SystemExit(say(f"{message}; {self.prog} --help tells more", USAGE_ERROR))


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """A user's mistake becomes one line on stderr; a fault of the program's keeps its traceback."""
    before = signal.signal(signal.SIGTERM, _terminate) if _in_main_thread() else None
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, instead of printing many lines and leaving
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # of a stream that is none of Python's own
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names of files need not be UTF-8
    try:
        yield
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise SystemExit(say(tell_hydra(error), USAGE_ERROR)) from None
    except ValueError as error:
        if is_of_a_group(error):
            raise SystemExit(say(tell_hydra(error), USAGE_ERROR)) from None
        if not isinstance(error, UserError):
            raise
        raise SystemExit(say(str(error), error.exit_code)) from None
    except OSError as error:
        reason = disk_error(error)
        if reason is None:
            raise
        raise SystemExit(say(reason, RUN_ERROR)) from None
    except (KeyboardInterrupt, RuntimeError) as error:
        if not is_interruption(error):
            raise
        told = str(error) if isinstance(error, KeyboardInterrupt) else ""
        raise SystemExit(say(told or "interrupted", INTERRUPTED)) from None
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
        if full_error is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error


def file_path(text: str) -> Path:
    """An argument that names a file or folder; an empty one would be the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty path; name a file or folder")
    return expanded(text)


def home_path(text: str) -> str:
    """An argument that names a file or folder, printed as it is typed but for `~`."""
    return str(expanded(text)) if text.startswith("~") else text


def say(text: str, code: int) -> int:
    complain(text)
    return code


def _terminate(*_: Any) -> None:
    raise KeyboardInterrupt


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()

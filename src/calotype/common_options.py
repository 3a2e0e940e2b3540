"""What every command but Hydra's has: its version, and its completion in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from calotype import __version__

RUN_FOLDERS = ("run", "runs", "paths", "folder")  # arguments that name folders
IMAGES = ("image", "images", "mask")


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add `--version` and `--print-completion` to a parser that has all of its other arguments."""
    import shtab

    parser.add_argument("--version", action="version", version=f"calotype {__version__}")
    shtab.add_argument_to(parser, "--print-completion", help="print the completion script of a shell")
    for action in _actions(parser):
        if action.dest in RUN_FOLDERS or action.metavar == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.dest in IMAGES or action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of its commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield action

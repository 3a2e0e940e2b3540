"""`python -m calotype.environment RUN`: the packages of a run, as a requirements file for pip."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calotype.cli_errors import Parser, file_path, one_line_errors
from calotype.closed_pipe import command
from calotype.console import echo, printable
from calotype.record_types import RUN, check_types
from calotype.records import read_json
from calotype.types import UserError

# The package itself comes from its commit; pip is what installs the rest.
LEFT_OUT = ("calotype", "pip")
# Anything else in a line of a requirements file could be an option of pip's.
NAME, VERSION = r"[A-Za-z0-9][A-Za-z0-9._-]*", r"[A-Za-z0-9][A-Za-z0-9.!+_-]*"


def requirements(record: dict[str, Any], run_json: Path) -> str:
    """Return the text of a requirements file with the exact version of every distribution of a run.

    Args:
        record: contents of the run's `run.json`.
        run_json: where it was read, for messages.

    Raises:
        UserError: the record does not list the distributions.
    """
    installed = record.get("distributions")
    if not isinstance(installed, dict) or not installed:
        raise UserError(f"{run_json}: lists no distributions (an older run?); its main packages are under versions")

    for name, version in installed.items():
        if not (re.fullmatch(NAME, str(name)) and re.fullmatch(VERSION, str(version))):
            raise UserError(f"{run_json}: damaged ({name}=={version} is no version of a package)")

    python = (record.get("versions") or {}).get("python")
    commit = record.get("git_commit")
    dirty = " with uncommitted changes" if record.get("git_dirty") else ""
    header = [
        f"# Environment of {run_json.parent}",
        f"# Python {python}",
        f"# calotype {installed.get('calotype')}, commit {commit}{dirty}" if commit else f"# calotype {installed.get('calotype')}",
    ]

    pins = [f"{name}=={version}" for name, version in sorted(installed.items()) if name not in LEFT_OUT]
    return "\n".join([*map(printable, header), *pins]) + "\n"


@command
def environment_main(arguments: Sequence[str] | None = None) -> None:
    """`python -m calotype.environment RUN`"""
    parser = Parser(prog="calotype.environment", description="Print a requirements file with the packages that a run used.")
    parser.add_argument("run", type=file_path, metavar="RUN", help="run folder")
    options = parser.parse_args(arguments)

    with one_line_errors():
        run_json = options.run / "run.json"
        record = read_json(run_json)  # of any version
        check_types(record, run_json, RUN)
        echo(requirements(record, run_json), lines=True, end="")


if __name__ == "__main__":
    environment_main()

"""Calotype: config-driven experiments in image learning. `calotype.run([...overrides])` is the command line in Python."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calotype.runner import Result

__all__ = ["__version__", "load", "run"]

try:
    __version__ = version("calotype")
except PackageNotFoundError:  # its files alone, not installed
    __version__ = "unknown"


def run(overrides: Sequence[str] = ()) -> Result:
    """Compose and run a config, as `calotype OVERRIDES...` does; see `calotype.runner.run`."""
    from calotype import runner

    return runner.run(overrides)


def load(run_dir: str | Path, *, checkpoint: str | None = None, trust: bool = False) -> Any:
    """The trained LightningModule of a finished run, in evaluation mode on the CPU; see `calotype.runner.load`."""
    from calotype import runner

    return runner.load(run_dir, checkpoint=checkpoint, trust=trust)[1]

"""`calotype info`: versions, hardware and paths, in one short table."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from calotype.run_folder import MAIN_PACKAGES, distributions, git_state
from calotype.schema import conf_dir


def info() -> Iterator[str]:
    """Yield the lines of the table."""
    rows = [*_versions(), *_hardware(), *_paths()]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        yield f"{name:{width}}  {value}"


def _versions() -> Iterator[tuple[str, str]]:
    installed = distributions()
    git = git_state()
    if git["git_commit"]:
        yield "calotype", f"{installed.get('calotype')}, commit {git['git_commit'][:8]}{' with changes' if git['git_dirty'] else ''}"
    else:
        yield "calotype", installed.get("calotype", "not installed")
    yield "python", platform.python_version()
    for name in MAIN_PACKAGES:
        if name != "calotype":
            yield name, installed.get(name, "not installed")


def _hardware() -> Iterator[tuple[str, str]]:
    import torch

    from calotype.hardware import cpu_name

    yield "system", f"{platform.system()} {platform.release()} {platform.machine()}"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "cpu", f"{cpu_name()}, {usable} of {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            one = torch.cuda.get_device_properties(i)
            yield f"gpu {i}", f"{one.name}, {one.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    elif torch.backends.mps.is_available():
        yield "gpu", "Apple (mps)"
    else:
        yield "gpu", "none"


def _paths() -> Iterator[tuple[str, str]]:
    data = os.environ.get("CALOTYPE_DATA") or "data"
    there = "" if Path(data).is_dir() else " (not there)"
    yield "data", f"{Path(data).resolve()}{there}"
    yield "outputs", str(Path("outputs").resolve())
    yield "package", str(Path(__file__).parent)
    yield "configs", str(conf_dir())

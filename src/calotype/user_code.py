"""Versions of the code that a config names and that is not Calotype's: a user's own packages."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from calotype.run_folder import git_state

HASH_LENGTH = 16
# Their versions are in run.json already, and they do not change between two runs by themselves.
KNOWN = {
    "calotype", "hydra", "hydra_plugins", "lightning", "lightning_fabric", "numpy", "omegaconf", "pytorch_lightning",
    "sklearn", "torch", "torchmetrics", "torchvision", *sys.stdlib_module_names,
}  # fmt: skip


def user_packages(config: Any) -> set[str]:
    """Return the top-level packages of every `_target_` in `config`, a resolved one in plain values, but for the known."""
    if isinstance(config, Mapping):
        target = config.get("_target_")
        inner = set().union(*map(user_packages, config.values())) if config else set()
        own = {target.partition(".")[0]} if isinstance(target, str) else set()
        return (own | inner) - KNOWN
    if isinstance(config, list | tuple):
        return set().union(*map(user_packages, config)) if config else set()
    return set()


def user_code(config: Any) -> dict[str, dict[str, Any]]:
    """Return for each of the user's packages its version, git commit, whether it is changed, and a hash of its files."""
    return {name: _describe(name) for name in sorted(user_packages(config))}


def hash_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def code_of(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the hash of the files of each package; null where it cannot be found."""
    return {name: _hash(_files(name)) for name in sorted(packages)}


def _describe(name: str) -> dict[str, Any]:
    files = _files(name)
    state = git_state(files[0]) if files else {"git_commit": None, "git_dirty": None}
    return {"version": _version(name), **state, "hash": _hash(files)}


def _hash(files: list[Path]) -> str | None:
    return hash_files(files)[:HASH_LENGTH] if files else None


def _files(name: str) -> list[Path]:
    """The Python files of a top-level package or module, without importing it."""
    if not name.isidentifier():  # find_spec imports what stands before a dot
        return []
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [path for folder in spec.submodule_search_locations for path in sorted(Path(folder).rglob("*.py"))]
    path = Path(spec.origin or "")
    return [path] if path.is_file() else []


def _version(name: str) -> str | None:
    for distribution in _distributions().get(name, [name]):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()

"""Composes configs, of the command line and of run folders, with Hydra."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from calotype.check import ConfigError, tell, tell_hydra
from calotype.config_file import check_run_config, read_config
from calotype.override_checks import refuse_wrong_overrides
from calotype.overrides import quoted
from calotype.places import expanded
from calotype.schema import conf_dir
from calotype.trust import foreign_targets, is_all_trusted
from calotype.types import UserError

MAX_TARGETS, MAX_LENGTH = 5, 100  # in a printed line, and of each


def compose_config(overrides: Sequence[str], *, folder: Path | None = None, hydra: bool = False) -> DictConfig:
    """What the command line composes of the overrides.

    Args:
        folder: of the primary config, config.yaml; the project's by default.
        hydra: keep Hydra's own node.

    Raises:
        ConfigError: an override is wrong, or a file of the configs.
    """
    overrides = quoted(overrides)
    refuse_wrong_overrides(overrides, has_groups=folder is None or any(one.is_dir() for one in folder.iterdir()))
    GlobalHydra.instance().clear()
    with initialize_config_dir(str((folder or conf_dir()).resolve()), version_base="1.3"):
        try:
            return compose("config", list(overrides), return_hydra_config=hydra)
        except (HydraException, OmegaConfBaseException, YAMLError) as error:
            raise ConfigError(tell_hydra(error)) from None


def load_config(folder: Path, overrides: Sequence[str] = ()) -> DictConfig:
    """The config that the run in `folder` was started with, and `overrides`, which are the user's.

    The file is read as plain values, so that no Hydra node, defaults list or resolver of somebody else's takes effect, and
    what it names is compared with what a config may name before anything of it is imported.

    Raises:
        ConfigError: it is no run folder, its config is damaged, or it names what takes trust.
    """
    folder = expanded(folder)
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{folder}: not a run folder (it has no config.yaml)")
    plain = _run_config(folder / "config.yaml")
    try:
        cfg = OmegaConf.create(plain)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{folder / 'config.yaml'}: damaged ({tell(error)})") from None
    if not overrides:
        OmegaConf.set_struct(cfg, True)
        return cfg
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
        return compose_config(overrides, folder=Path(scratch))


def _run_config(path: Path) -> dict[str, Any]:
    """What the config.yaml of a run holds, once it is known to be harmless or trusted."""
    try:
        plain = read_config(path)
    except UserError as error:
        raise ConfigError(str(error)) from None
    task = plain.get("task")
    if task is None:
        raise ConfigError(f"{path}: damaged (it has no task)")
    if not isinstance(task, dict) or "." not in str(task.get("_target_")):
        raise ConfigError(f"{path}: damaged (its task has no _target_)")
    for key in ("hydra", "defaults"):
        if key in plain:
            raise ConfigError(f"{path}: holds {key}, which no run writes and which would reach beyond this file; remove it")

    if foreign := foreign_targets(plain):
        names = ", ".join(one[:MAX_LENGTH] for one in foreign[:MAX_TARGETS])
        more = f" and {len(foreign) - MAX_TARGETS} more" if len(foreign) > MAX_TARGETS else ""
        raise ConfigError(
            f"{path}: names {names}{more}, which Calotype and its plug-ins do not define and which may do anything; "
            "if you trust this run, add --trust (calotype: trust=true)"
        )
    if not is_all_trusted() and (text := _interpolation(plain)):
        raise ConfigError(f"{path}: holds the interpolation {text}, and a run writes values; write the value, or add --trust")
    try:
        check_run_config(plain, path)
    except UserError as error:
        raise ConfigError(str(error)) from None
    return {**plain, "trust": False}  # it is for the user to say


def _interpolation(value: Any) -> str | None:
    """The first text that OmegaConf would resolve."""
    if isinstance(value, dict):
        return next((text for pair in value.items() for one in pair if (text := _interpolation(one))), None)
    if isinstance(value, list):
        return next((text for one in value if (text := _interpolation(one))), None)
    return value if isinstance(value, str) and "${" in value else None


@contextlib.contextmanager
def directory_of(record: Mapping[str, Any]) -> Iterator[None]:
    """Within it, relative paths of a run's config mean what they meant when the run was started.

    Where that directory no longer exists (the run is from another machine), they are relative to the present one.
    Modules are imported from where they were: an interpreter that looks for them in the current directory would find
    those of a directory that the run folder names.
    """
    directory = record.get("cwd")
    here = Path.cwd()
    if not isinstance(directory, str) or not directory or not Path(directory).is_dir() or Path(directory) == here:
        yield
        return
    with _imports_from(here), contextlib.chdir(directory):
        yield


@contextlib.contextmanager
def _imports_from(here: Path) -> Iterator[None]:
    """Within it, an empty entry of sys.path, the current directory, is `here`."""
    is_relative = "" in sys.path
    if is_relative:
        sys.path[sys.path.index("")] = str(here)
    try:
        yield
    finally:
        if is_relative and str(here) in sys.path:
            sys.path[sys.path.index(str(here))] = ""

"""Composes configs, of the command line and of run folders, with Hydra."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from calotype.check import ConfigError, refuse_wrong_choices
from calotype.schema import conf_dir


def compose_config(overrides: Sequence[str], *, folder: Path | None = None, hydra: bool = False) -> DictConfig:
    """What the command line composes of the overrides.

    Args:
        folder: of the primary config, config.yaml; the project's by default.
        hydra: keep Hydra's own node.
    """
    refuse_wrong_choices(overrides)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str((folder or conf_dir()).resolve()), version_base="1.3"):
        return compose("config", list(overrides), return_hydra_config=hydra)


def load_config(folder: Path, overrides: Sequence[str] = ()) -> DictConfig:
    """The config that the run in `folder` was started with.

    Raises:
        ConfigError: it is no run folder, or its config is damaged.
    """
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{folder}: not a run folder (it has no config.yaml)")
    cfg = compose_config(overrides, folder=folder)
    if cfg.get("task") is None:
        raise ConfigError(f"{folder / 'config.yaml'}: damaged (it has no task)")
    return cfg


@contextlib.contextmanager
def directory_of(record: Mapping[str, Any]) -> Iterator[None]:
    """Within it, relative paths of a run's config mean what they meant when the run was started.

    Where that directory no longer exists (the run is from another machine), they are relative to the present one.
    """
    directory = record.get("cwd")
    if directory and Path(directory).is_dir() and Path(directory) != Path.cwd():
        with contextlib.chdir(directory):
            yield
    else:
        yield

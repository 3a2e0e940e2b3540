"""The options of config groups in every place that Hydra reads: the project's conf/, `--config-dir`, and search paths."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.default_element import ConfigDefault, GroupDefault
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from calotype.schema import conf_dir

INNER = "features"  # a folder of model/ whose networks are parts of others, and no choice


class Choices:
    """The options of each group, and what they build.

    Args:
        places: of configs, as Hydra names them (`file:///here/conf`, `pkg://package.conf`), in their order;
            the project's own are the last.
    """

    def __init__(self, places: Sequence[str] = ()) -> None:
        own = f"file://{conf_dir()}"
        search_path = ConfigSearchPathImpl()
        for place in dict.fromkeys((*places, own)):
            # Hydra's own and the schema's hold no options of the project's groups.
            if not place.startswith(("structured://", "pkg://hydra.")):
                search_path.append(provider="calotype", path=place)
        Plugins.instance()  # which registers the kinds of places
        self._repository = ConfigRepository(search_path)

    @classmethod
    def of(cls, cfg: DictConfig) -> Choices:
        """The options where `cfg` was composed from, or else where the command of this process was."""
        sources = OmegaConf.select(cfg, "hydra.runtime.config_sources", default=None)
        if sources is None and HydraConfig.initialized():
            sources = HydraConfig.get().runtime.config_sources
        return cls([f"{one['schema']}://{one['path']}" for one in sources or ()])

    @classmethod
    def of_command(cls, arguments: Sequence[str]) -> Choices:
        """The options of a command line that Hydra has not read yet."""
        places = [f"file://{Path(folder).absolute()}" for folder in _config_dirs(arguments)]
        for argument in arguments:
            if argument.startswith("hydra.searchpath="):
                places += re.findall(r"\w+://[^\s,'\"\]]+", argument)
        return cls(places)

    @classmethod
    def of_message(cls, message: str) -> Choices:
        """The options of the search path that Hydra's error lists."""
        return cls(re.findall(r"provider=.*?, path=(\S.*)", message))

    def is_group(self, name: str) -> bool:
        return bool(name) and self._repository.group_exists(name)

    def options(self, group: str) -> list[str]:
        """Return every option of a group, those in folders as `gan/hinge`."""
        return sorted(set(self._options(group)))

    def _options(self, group: str, folder: str = "") -> Iterator[str]:
        place = f"{group}/{folder}".rstrip("/")
        for name in self._repository.get_group_options(place, ObjectType.CONFIG):
            yield f"{folder}{name}"
        for name in self._repository.get_group_options(place, ObjectType.GROUP):
            if folder or name != INNER:
                yield from self._options(group, f"{folder}{name}/")

    def target(self, group: str, option: str) -> str | None:
        """Return the `_target_` of an option, be it its own or that of an option which it derives from."""
        return self._target(f"{group}/{option}", frozenset())

    def _target(self, path: str, seen: frozenset[str]) -> str | None:
        found = self._repository.load_config(path) if path not in seen else None
        if found is None or found.defaults_list is None:
            return None
        own = OmegaConf.to_container(found.config, resolve=False)
        target: str | None = None
        defaults: list[Any] = list(found.defaults_list)
        if not any(isinstance(one, ConfigDefault) and one.path == "_self_" for one in defaults):
            defaults.append(ConfigDefault(path="_self_"))

        # The last one that has it wins, as in the config that Hydra composes.
        for one in defaults:
            if isinstance(one, ConfigDefault) and one.path == "_self_":
                given = own.get("_target_") if isinstance(own, dict) else None
            elif (base := _base(one, path)) is not None:
                given = self._target(base, seen | {path})
            else:
                given = None
            target = target if given is None else str(given)
        return target


def default_choice(group: str, choices: Choices | None = None) -> str:
    """Return the option of a group that the primary config chooses, or else its first one, for an example of what to type."""
    chosen: dict[str, Any] = {}
    for entry in yaml.safe_load((conf_dir() / "config.yaml").read_text(encoding="utf-8"))["defaults"]:
        if isinstance(entry, dict):
            chosen |= entry
    return str(chosen.get(group) or next(iter((choices or Choices()).options(group)), "NAME"))


def _base(default: Any, path: str) -> str | None:
    """Return the config that an entry of a defaults list merges into the option itself; None where it lands elsewhere."""
    parent, group = path.rpartition("/")[0], path.partition("/")[0]
    if isinstance(default, ConfigDefault):
        base = str(default.path)
        name = base.lstrip("/").removeprefix(parent).lstrip("/")
        lands_here = default.package is None and "/" not in name
    elif isinstance(default, GroupDefault) and isinstance(default.value, str) and not default.override:
        base = f"{default.group}/{default.value}"
        lands_here = default.package is None and default.group == f"/{group}"
    else:
        return None
    is_here = lands_here or default.package in ("_here_", "")
    absolute = base[1:] if base.startswith("/") else f"{parent}/{base}"
    return absolute if is_here else None


def _config_dirs(arguments: Sequence[str]) -> Iterator[str]:
    options = ("--config-dir", "-cd")
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in options and equals:
            yield value
        elif argument in options:
            with contextlib.suppress(IndexError):
                yield arguments[i + 1]

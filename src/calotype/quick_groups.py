"""Hydra's lists of config groups and its composing of a config, without what it does twice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.object_type import ObjectType
from hydra.types import RunMode


@contextlib.contextmanager
def quick_groups() -> Iterator[None]:
    """Within it, Hydra asks one repository of configs for the options of all groups.

    Hydra makes a repository for each question, that is twice for each of some 120 groups, and copies all configs
    that plug-ins store every time: 0.9 of the 1.5 s that `calotype --help` took.
    """
    asked = ConfigLoaderImpl.get_group_options
    repositories: dict[int, Any] = {}

    def get_group_options(
        self: Any,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        if config_name is not None or overrides:  # which may change the search path
            return asked(self, group_name, results_filter, config_name, overrides)
        if id(self) not in repositories:
            repositories[id(self)] = self._parse_overrides_and_create_caching_repo(None, [])[1]
        options: list[str] = repositories[id(self)].get_group_options(group_name, results_filter)
        return options

    ConfigLoaderImpl.get_group_options = get_group_options  # type: ignore[method-assign]
    try:
        yield
    finally:
        ConfigLoaderImpl.get_group_options = asked  # type: ignore[method-assign]


@contextlib.contextmanager
def composed_once() -> Iterator[None]:
    """Within it, Hydra runs with the config that it composed to see whether `hydra.mode` makes the run a sweep.

    It composes it anew otherwise: 0.25 s of every start.
    """
    asked = Hydra.get_mode

    def get_mode(self: Any, config_name: str | None, overrides: list[str]) -> Any:
        try:
            cfg = self.compose_config(config_name, overrides, RunMode.RUN, with_log_configuration=False)
        except Exception:  # whatever it is: Hydra comes across it again, where it is told
            return asked(self, config_name, overrides)
        if cfg.hydra.mode not in (None, RunMode.RUN):
            return cfg.hydra.mode
        cfg.hydra.mode = RunMode.RUN
        self.config_loader.load_configuration = lambda **_: cfg
        return RunMode.RUN

    Hydra.get_mode = get_mode  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = asked  # type: ignore[method-assign]

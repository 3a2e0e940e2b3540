"""Refuses overrides that Hydra would tell in many lines, or take for something else, before it reads them."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from calotype.building import shortened
from calotype.check import GROUPS, ConfigError
from calotype.choices import Choices, default_choice

SEVERAL = ("callbacks", "logger")  # groups of which several choices go together
STUDY = ("-m", "--multirun", "-cn", "--config-name", "hydra.mode=MULTIRUN")
KEPT = ("task", "data")  # groups that every run has


def refuse_wrong_overrides(arguments: Sequence[str], *, has_groups: bool = True) -> None:
    """Raise ConfigError, naming what was typed, at the first override that cannot be meant.

    Args:
        arguments: of the command line, or overrides alone.
        has_groups: whether the config that they change is composed of groups; that of a run folder is not.
    """
    is_sweep = any(argument in STUDY or argument.startswith("--config-name=") for argument in arguments)
    choices: Choices | None = None
    for text in _overrides(arguments):
        override = _parsed(text)
        key = override.key_or_group
        shown = shortened(text, 100)
        if not key:
            raise ConfigError(f"{shown}: has no key; settings are typed as KEY=VALUE, as seed=1")
        if override.is_sweep_override() and not is_sweep:
            raise ConfigError(f"{shown}: several values are a sweep: add -m")
        if override.is_delete():
            _refuse_taken_out(key, shown)
        elif key == "hydra":
            raise ConfigError(f"{shown}: the settings of Hydra are typed one by one, as hydra.run.dir=FOLDER")
        elif has_groups and "." not in key and not override.is_sweep_override() and not _is_name(override):
            choices = choices or Choices.of_command(arguments)
            if (key.startswith("hydra/") or choices.is_group(key)) and not (key in SEVERAL and _are_names(override.value())):
                raise ConfigError(f"{shown}: {_choice(key, override.value(), choices)}")


def _overrides(arguments: Sequence[str]) -> list[str]:
    """The arguments that are no options of Hydra's, nor values of such."""
    with contextlib.suppress(SystemExit, argparse.ArgumentError):
        if any(argument.startswith("-") for argument in arguments):
            return list(get_args_parser().parse_args(list(arguments)).overrides)
    return [argument for argument in arguments if not argument.startswith("-")]


def _parsed(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        pass
    key, equals, value = text.partition("=")
    shown = shortened(text, 100)
    if not equals:
        raise ConfigError(f"{shown}: is no setting; settings are typed as KEY=VALUE, as seed=1 (all keys: --cfg job)")
    if value.startswith("="):
        raise ConfigError(f"{shown}: one = is enough, as {shortened(key + text[len(key) :].replace('==', '=', 1), 60)}")
    if any(value.count(first) != value.count(last) for first, last in ("[]", "{}", "()")):
        raise ConfigError(f"{shown}: a bracket is opened and not closed, or closed and not opened")
    if any(value.count(mark) % 2 for mark in "'\""):
        raise ConfigError(f"{shown}: a quotation mark is opened and not closed")
    raise ConfigError(f"{shown}: cannot be read; put the value into quotes, as \"{shortened(key, 40)}='VALUE'\"")


def _refuse_taken_out(key: str, shown: str) -> None:
    """Raise ConfigError where a run cannot be without what is to be taken away."""
    from calotype.settings import RootSettings  # not above: help and completion need no pydantic

    group, _, name = key.partition(".")
    if group not in RootSettings.model_fields or (name and group in GROUPS):
        return
    if group in KEPT or group not in GROUPS:
        is_chosen = not name and group in (*KEPT, "hardware", "paths")
        raise ConfigError(f"{key}: must be given" + (f", as {key}={default_choice(key)}" if is_chosen else f"; leave {shown} out"))


def _is_name(override: Override) -> bool:
    value: Any = override.value()
    return isinstance(value, str) and bool(value.strip())


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) and one not in ("", "none") for one in value)


def _choice(group: str, value: Any, choices: Choices) -> str:
    """What a group takes, by what it was given."""
    example = f"{group}={'basic' if group.startswith('hydra/') else default_choice(group, choices)}"
    if value == "":
        return f"give the name of a choice, as {example}"
    if value is None and group not in KEPT:
        none = f"{group}=none" if "none" in choices.options(group) else f"~{group}"
        return f"a group takes the name of a choice, as {example}; {none} leaves it out"
    if isinstance(value, list) and group in SEVERAL:
        return f"a list takes the names of choices, without none, as {group}=[{default_choice(group, choices)}]"
    return f"a group takes the name of a choice, as {example}"

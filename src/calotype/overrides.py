"""Overrides as they are typed: a path or name that Hydra's grammar would refuse, or read as a number, is quoted for it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from calotype.places import is_place

TEXT_KEYS = frozenset({"name", "data.positive", "task.label"})  # whose value is text, whatever it looks like
TEXT_LISTS = frozenset({"data.classes", "dataset.class_names"})
NOTHING = ("", "null")


def quoted(overrides: Sequence[str]) -> list[str]:
    """Return the overrides with those values quoted that are names of files or classes and that Hydra would read otherwise.

    `dataset.root=holiday (1)` is refused by Hydra's grammar, `data.positive=1.50` would be the number 1.5, and
    `dataset.root=a,b` a choice of two. What is quoted already stays, and so do interpolations, lists and sweeps, unless
    a file of exactly this name exists. `~` in front of a path is replaced.
    """
    is_sweep = bool({"-m", "--multirun"} & set(overrides))
    return [_quoted(override, is_sweep) for override in overrides]


def value_of(override: str) -> str:
    """Return the value of an override as text, without the quotes that Hydra takes away."""
    value = override.partition("=")[2]
    try:
        parsed = _parser().parse_override(override).value()
    except HydraException:
        return value
    return parsed if isinstance(parsed, str) else value


def with_value(override: str, value: str) -> str:
    """Return an override of the same key with another text as its value."""
    key = override.partition("=")[0]
    plain = f"{key}={value}"
    return plain if _reads_as(plain, value) else f"{key}={_in_quotes(value)}"


def _quoted(override: str, is_sweep: bool) -> str:
    key, equals, value = override.partition("=")
    name = key.lstrip("+")
    if not equals or key.startswith(("-", "~")) or value in NOTHING or "/" in key:
        return override
    if name in TEXT_LISTS:
        return f"{key}={_quoted_items(value)}"
    if not (name in TEXT_KEYS or is_place(name)):
        # Any other key takes a path where nothing else can be meant.
        return override if _parses(override) or not os.path.lexists(os.path.expanduser(value)) else f"{key}={_in_quotes(value)}"

    text = os.path.expanduser(value) if is_place(name) else value
    if not (is_place(name) and os.path.lexists(text)) and _is_of_hydra(override, name, value, is_sweep):
        return override
    return override if text == value and _reads_as(override, value) else with_value(override, text)


def _is_of_hydra(override: str, name: str, value: str, is_sweep: bool) -> bool:
    """Whether the value is written in Hydra's own language, where no file is of this name."""
    is_in_quotes = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    is_collection = is_place(name) and value[0] + value[-1] in ("[]", "{}")
    is_function = is_sweep and re.fullmatch(r"(choice|range|interval|glob|shuffle|sort|tag)\(.*\)", value)
    has_commas = is_sweep and "," in value
    return "${" in value or ((is_in_quotes or is_collection or is_function or has_commas) and _parses(override))


def _quoted_items(value: str) -> str:
    """A list of names with each in quotes; one that has some already is left to Hydra."""
    if value[:1] + value[-1:] != "[]" or any(c in value for c in "'\"${}") or not value[1:-1].strip():
        return value
    return f"[{','.join(_in_quotes(item.strip()) for item in value[1:-1].split(','))}]"


def _reads_as(override: str, value: str) -> bool:
    try:
        parsed = _parser().parse_override(override)
    except HydraException:
        return False
    return not parsed.is_sweep_override() and parsed.value() == value and isinstance(parsed.value(), str)


def _parses(override: str) -> bool:
    try:
        _parser().parse_override(override)
    except HydraException:
        return False
    return True


def _in_quotes(text: str) -> str:
    return QuotedString(text=text, quote=Quote.single).with_quotes()


def _parser() -> OverridesParser:
    return OverridesParser.create()

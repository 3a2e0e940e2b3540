"""Compares the arguments of a part with the annotations of its parameters: kinds and ranges."""

from __future__ import annotations

import enum
import inspect
import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import ConfigDict, TypeAdapter, ValidationError

from calotype.ranges import Part, alternatives, describe, of_others, words

STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
PLAIN = (int, float, bool, str, type(None), Path)


def wrong_values(target: Any, values: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """The arguments that do not fit: their name, what they must be, and the words that they may be.

    Nodes with `_target_` are left alone, and so are parameters without an annotation or of a kind that cannot be told.
    """
    known = _annotations(target)
    for name, value in values.items():
        if name not in known or _holds_a_part(value):
            continue
        hint, adapter = known[name]
        try:
            adapter.validate_json(json.dumps(value))
        except ValidationError:
            yield name, describe(hint), words(hint)


@cache
def _annotations(target: Any) -> dict[str, tuple[Any, TypeAdapter[Any]]]:
    """Each parameter's annotation, in terms of plain values, and what compares values with it."""
    function = target.__init__ if inspect.isclass(target) else target
    found = {}
    parameters = inspect.signature(target).parameters
    ranges = {name: hint for name, hint in of_others(_full_name(target)).items() if name in parameters}
    for name, hint in {**_hints(function), **ranges}.items():
        plain = _in_plain_values(hint)
        if plain is not Any:
            found[name] = (plain, TypeAdapter(plain, config=STRICT))
    return found


def _hints(function: Any) -> dict[str, Any]:
    """The annotations that can be resolved; one that cannot (of a package that is not installed) hides no other."""
    written = {name: hint for name, hint in getattr(function, "__annotations__", {}).items() if name != "return"}
    namespace = getattr(inspect.unwrap(function), "__globals__", {})
    found = {}
    for name, hint in written.items():
        holder = type("holder", (), {"__annotations__": {name: hint}})
        try:
            found[name] = typing.get_type_hints(holder, namespace, include_extras=True)[name]
        except (NameError, TypeError, AttributeError, SyntaxError):
            continue
    return found


def _in_plain_values(hint: Any) -> Any:
    """The annotation with `Part` for what no plain value can be; Any where that cannot be told."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in PLAIN or origin is Literal or hint is Any:
        return hint
    if len(alternatives(hint)) > 1:
        # A tensor (`lr: float | Tensor`) no config can give.
        parts = [_in_plain_values(one) for one in alternatives(hint) if getattr(one, "__name__", "") != "Tensor"]
        return Any if Any in parts else Union[tuple(parts)]  # noqa: UP007  (of as many as there are)
    if origin is Annotated:
        inner = _in_plain_values(arguments[0])
        return inner if inner in (Any, Part) else Annotated[(inner, *arguments[1:])]
    if isinstance(origin, type) and issubclass(origin, Mapping | Sequence):
        inner = tuple(one if one is Ellipsis else _in_plain_values(one) for one in arguments)
        base = tuple if origin is tuple else dict if issubclass(origin, Mapping) else list
        return base[inner] if Part not in inner else Part
    if inspect.isclass(hint) and hint is not object and not issubclass(hint, enum.Enum):
        return Part if hint not in (list, dict, tuple) else hint
    return Part if str(hint).startswith("collections.abc.Callable") else Any


def _holds_a_part(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_holds_a_part, value.values()))
    return isinstance(value, list) and any(map(_holds_a_part, value))


def _full_name(target: Any) -> str:
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', '')}"

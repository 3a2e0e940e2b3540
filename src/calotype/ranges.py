"""The ranges of arguments: declared beside each parameter, checked before anything is built (`calotype.arguments`)."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

Count = Annotated[int, Ge(0)]
Positive = Annotated[int, Ge(1)]
Two = Annotated[int, Ge(2)]  # and more
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]

AtLeast0 = Annotated[float, Ge(0)]
AtLeast1 = Annotated[float, Ge(1)]
Above0 = Annotated[float, Gt(0)]
Share = Annotated[float, Ge(0), Le(1)]
Below1 = Annotated[float, Ge(0), Lt(1)]  # a share that leaves something: of images, of dropout, of a running average
Inside01 = Annotated[float, Gt(0), Lt(1)]
Above0To1 = Annotated[float, Gt(0), Le(1)]
Degrees = Annotated[float, Ge(0), Le(180)]

# Stands for all that no plain value can be, such as a network: a config gives it as a node with `_target_`.
Part = Literal["a part, a node with _target_"]

# Parameters of other packages' parts, which state no range.
OTHERS: dict[str, dict[str, object]] = {
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping": {"patience": Count, "min_delta": AtLeast0},
    "torch.optim.lr_scheduler.ReduceLROnPlateau": {
        "factor": Inside01,
        "patience": Count,
        "threshold": AtLeast0,
        "cooldown": Count,
        "min_lr": AtLeast0,
        "eps": AtLeast0,
    },
    "torch.optim.lr_scheduler.StepLR": {"step_size": Positive, "gamma": Above0},
    "torch.optim.lr_scheduler.ExponentialLR": {"gamma": Above0},
}


def describe(hint: Any) -> str:
    """What a value of this annotation is, in words: `a whole number, at least 1, or null`."""
    parts = [describe_one(part) for part in alternatives(hint)]
    parts = list(dict.fromkeys(part for part in parts if part))
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


def words(hint: Any) -> list[str]:
    """The words that an annotation allows."""
    return [str(word) for part in alternatives(hint) if _is_choice(part) for word in typing.get_args(part)]


def _is_choice(hint: Any) -> bool:
    return typing.get_origin(hint) is Literal and hint != Part


def alternatives(hint: Any) -> list[Any]:
    """The members of a union, else the annotation itself."""
    return list(typing.get_args(hint)) if typing.get_origin(hint) in (typing.Union, types.UnionType) else [hint]


def describe_one(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        if told := [one.description for one in arguments[1:] if getattr(one, "description", None)]:
            return str(told[0])
        bounds = [f"{word} {getattr(one, name)}" for one in arguments[1:] for name, word in WORDS.items() if hasattr(one, name)]
        return f"{describe(arguments[0])} {' and '.join(bounds)}".strip()
    if origin is Literal:
        return " | ".join(str(choice) for choice in arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"names with {describe(arguments[1])} each"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list, each {describe(arguments[0])}"
    return NAMES.get(hint, "")


WORDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
NAMES = {int: "a whole number", float: "a number", bool: "true | false", str: "text", type(None): "null", Path: "a path"}

"""The ranges of arguments: declared beside each parameter, checked before anything is built (`calotype.arguments`)."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

MOST = 10**9  # of anything that is counted; more is a slip of the keyboard, and beyond 64 bits an error in the middle of a run
Count = Annotated[int, Ge(0), Le(MOST)]
Positive = Annotated[int, Ge(1), Le(MOST)]
Two = Annotated[int, Ge(2), Le(MOST)]  # and more
# Of one machine: more threads or processes than these end it, or its memory, before anything could say so.
MOST_PROCESSES = 4096
Processes = Annotated[int, Ge(1), Le(MOST_PROCESSES)]
Workers = Annotated[int, Ge(0), Le(MOST_PROCESSES)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]

AtLeast0 = Annotated[float, Ge(0)]
AtLeast1 = Annotated[float, Ge(1)]
Above0 = Annotated[float, Gt(0)]
Share = Annotated[float, Ge(0), Le(1)]
Below1 = Annotated[float, Ge(0), Lt(1)]  # a share that leaves something: of images, of dropout, of a running average
Inside01 = Annotated[float, Gt(0), Lt(1)]
Above0To1 = Annotated[float, Gt(0), Le(1)]
Degrees = Annotated[float, Ge(0), Le(180)]

NotEmpty = MinLen(1)  # of a list from which nothing could be made otherwise: Annotated[Sequence[Positive], NotEmpty]
AtLeastTwo = MinLen(2)  # of classes among which to choose

# Stands for all that no plain value can be, such as a network: a config gives it as a node with `_target_`.
Part = Literal["a group with _target_"]

# Parameters of other packages' parts, which state no range: those of one class, and those of all classes of a package.
MODE = Literal["min", "max"]
OTHERS: dict[str, dict[str, object]] = {
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping": {"patience": Count, "min_delta": AtLeast0, "mode": MODE},
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint": {
        "mode": MODE,
        "save_top_k": Annotated[int, Ge(-1), Le(MOST)],
        "every_n_epochs": Positive | None,
        "every_n_train_steps": Count | None,
    },
    "torch.optim.lr_scheduler.ReduceLROnPlateau": {
        "mode": MODE,
        "factor": Inside01,
        "patience": Count,
        "threshold": AtLeast0,
        "cooldown": Count,
        "min_lr": AtLeast0,
        "eps": AtLeast0,
    },
    "torch.optim.lr_scheduler.CyclicLR": {"base_lr": AtLeast0},
    "torch.optim.Adafactor": {"eps": tuple[Above0 | None, Above0], "beta2_decay": Annotated[float, Le(0)]},
}
PACKAGES: dict[str, dict[str, object]] = {
    "torch.optim.lr_scheduler": {
        "step_size": Positive,
        "step_size_up": Positive,
        "milestones": Annotated[list[Positive], NotEmpty],
        "gamma": Above0,
        "factor": Above0To1,
        "start_factor": Above0To1,
        "end_factor": Share,
        "total_iters": Positive,
        "power": AtLeast0,
        "T_max": Positive,
        "T_0": Positive,
        "T_mult": Positive,
        "eta_min": AtLeast0,
        "max_lr": Above0,
        "pct_start": Share,
        "div_factor": Above0,
        "final_div_factor": Above0,
    },
    "torch.optim": {
        "lr": Above0,
        "weight_decay": AtLeast0,
        "eps": Above0,
        "momentum": AtLeast0,
        "betas": tuple[Below1, Below1],
        "alpha": AtLeast0,
        "rho": Share,
        "lambd": AtLeast0,
        "t0": Above0,
        "d": AtLeast1,
        "lr_decay": AtLeast0,
        "initial_accumulator_value": AtLeast0,
        "momentum_decay": AtLeast0,
        "etas": tuple[Inside01, Annotated[float, Gt(1)]],
        "step_sizes": tuple[Above0, Above0],
        "max_iter": Positive,
        "max_eval": Positive | None,
        "history_size": Positive,
        "tolerance_grad": AtLeast0,
        "tolerance_change": AtLeast0,
        "ns_steps": Annotated[int, Ge(1), Lt(100)],
    },
}


def of_others(name: str) -> dict[str, object]:
    """Return what is known of the parameters of a class of another package, by its full name."""
    of_package = next((ranges for package, ranges in PACKAGES.items() if name.startswith(f"{package}.")), {})
    return {**of_package, **OTHERS.get(name, {})}


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
        bounds = [
            f"{word} {bound}"
            for one in arguments[1:]
            for name, word in WORDS.items()
            if (bound := getattr(one, name, MOST)) != MOST  # which is told where a number is beyond it
        ]
        least = next((one.min_length for one in arguments[1:] if hasattr(one, "min_length")), 0)
        inner = describe(arguments[0])
        return " ".join([inner.replace("a list,", f"a list of at least {least},") if least else inner, " and ".join(bounds)]).strip()
    if origin is Literal:
        return " | ".join(dict.fromkeys(str(choice) for choice in arguments))  # 16 may be text or a number
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"names with {describe(arguments[1])} each"
    if origin is tuple and Ellipsis not in arguments:
        each = list(dict.fromkeys(describe(one) for one in arguments))
        return f"a list of {len(arguments)}, each {each[0]}" if len(each) == 1 else f"a list of {len(arguments)}: {', '.join(each)}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list, each {describe(arguments[0])}"
    return NAMES.get(hint, "")


WORDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
NAMES = {int: "a whole number", float: "a number", bool: "true | false", str: "text", type(None): "null", Path: "a path"}

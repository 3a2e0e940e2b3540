"""What the config of a run folder may name: parts of Calotype, torch, Lightning and plug-ins; all else needs trust.

A run folder may come from somebody else, and a `_target_` is a call with the arguments of the config. Names are compared
before anything is imported, then the objects that they lead to: `torch.nn.functional.torch.load` is none of torch.nn.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import cache
from importlib.metadata import entry_points
from typing import Any

PLUGINS = "calotype.plugins"  # group of entry points; the value of each is a package whose parts a config may name
TARGET = "_target_"

# Package -> what its classes must be derived from, by full name; any class where there is nothing.
CLASSES: dict[str, tuple[str, ...]] = {
    "calotype.models": (),
    "calotype.losses": (),
    "calotype.data": (),
    "calotype.tasks": (),
    "calotype.callbacks": ("pytorch_lightning.callbacks.Callback",),
    "torch.nn": ("torch.nn.Module",),
    "torch.optim": ("torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler"),
    "pytorch_lightning.callbacks": ("pytorch_lightning.callbacks.Callback",),
    "pytorch_lightning.loggers": ("pytorch_lightning.loggers.Logger",),
    # Metrics of text and of generated images load networks from files that their arguments name.
    "torchmetrics.aggregation": ("torchmetrics.Metric",),
    "torchmetrics.classification": ("torchmetrics.Metric",),
    "torchmetrics.regression": ("torchmetrics.Metric",),
}
SOURCES = "calotype.datasets"  # of functions that return a Source
FUNCTIONS = ("calotype.tasks.schedule.warmup_cosine",)
# They take the address of a database or a file to write; the framework makes them, and no config does.
EXCLUDED = ("calotype.callbacks.pruning.Prune",)

_all_trusted: ContextVar[bool] = ContextVar("all_trusted", default=False)
_known: ContextVar[frozenset[str]] = ContextVar("known", default=frozenset())


@contextlib.contextmanager
def trusting(everything: bool = True, *, targets: Iterable[str] = ()) -> Iterator[None]:
    """Within it, run folders may name every target, or `targets` as well, which the user's own config names anyway."""
    tokens = _all_trusted.set(_all_trusted.get() or everything), _known.set(_known.get() | frozenset(targets))
    try:
        yield
    finally:
        _all_trusted.reset(tokens[0])
        _known.reset(tokens[1])


def is_all_trusted() -> bool:
    """Return whether every run folder that is read now is the user's own or was said to be trusted."""
    return _all_trusted.get()


def targets_of(node: Any) -> list[str]:
    """Return every `_target_` below `node`, plain values, in order and once; what is no text as its representation."""
    targets: dict[str, None] = {}
    if isinstance(node, Mapping):
        if TARGET in node:
            target = node[TARGET]
            targets[target if isinstance(target, str) else repr(target)] = None
        inner: Iterable[Any] = node.values()
    elif isinstance(node, list | tuple):
        inner = node
    else:
        return []
    for value in inner:
        targets |= dict.fromkeys(targets_of(value))
    return list(targets)


def foreign_targets(config: Any) -> list[str]:
    """Return the targets of `config`, plain values, that neither this module nor the user allows."""
    if is_all_trusted():
        return []
    return [target for target in targets_of(config) if target not in _known.get() and not is_allowed(target)]


def is_allowed(target: str) -> bool:
    """Return whether `target` is a part that every config may name. Imports nothing of a package that is not allowed."""
    parts = target.split(".")
    if not all(part.isidentifier() and not part.startswith("_") for part in parts) or target in EXCLUDED:
        return False
    package = next((one for one in (*CLASSES, SOURCES) if target.startswith(f"{one}.")), None)
    plugin = next((one for one in _plugins() if target.startswith(f"{one}.")), None) if package is None else None
    if package is None and plugin is None:
        return False

    part = _located(parts)
    name = _own_name(part)
    if name is None or name in EXCLUDED:
        return False
    if plugin is not None:
        return name.startswith(f"{plugin}.")
    return _is_part(part, name)


def _located(parts: Sequence[str]) -> Any:
    """The object that Hydra finds by this name, None where there is none; the same steps as Hydra's."""
    try:
        part: Any = importlib.import_module(parts[0])
        for number, name in enumerate(parts[1:], 2):
            if inspect.ismodule(part) and not hasattr(part, name):
                part = importlib.import_module(".".join(parts[:number]))
            else:
                part = getattr(part, name)
    except Exception:  # whatever a package raises where it cannot be imported
        return None
    return part


def _is_part(part: Any, name: str) -> bool:
    if not inspect.isclass(part):
        returns = inspect.get_annotations(part).get("return")
        is_source = name.startswith(f"{SOURCES}.") and getattr(returns, "__name__", returns) == "Source"
        return is_source or name in FUNCTIONS
    for package, bases in CLASSES.items():
        if name.startswith(f"{package}."):
            return not bases or issubclass(part, tuple(_located(base.split(".")) for base in bases))
    return False


def _own_name(part: Any) -> str | None:
    """Where a class or function is defined, by what it says of itself and by what is there; None of anything else."""
    if not (inspect.isclass(part) or inspect.isfunction(part)):
        return None
    module, name = part.__module__, part.__qualname__
    return f"{module}.{name}" if getattr(sys.modules.get(module), name, None) is part else None


@cache
def _plugins() -> tuple[str, ...]:
    """The packages that installed distributions name as plug-ins."""
    return tuple(sorted({one.value.partition(":")[0].strip() for one in entry_points(group=PLUGINS)}))

"""Builds what a config names, each part once, from the one place where it stands."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, cast

from hydra.utils import get_class, get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from calotype.schema import to_plain
from calotype.types import DataSpec

Plain = Mapping[str, Any]

# What a task or a DataModule takes from another place of the config, where its signature has a parameter of this name.
SHARED = {
    "task": {
        "model": "model",
        "loss": "loss",
        "optimizer": "optimizer",
        "scheduler": "scheduler",
        "operator": "data.operator",
        "levels": "data.levels",
    },
    "data": {"dataset": "dataset"},
}


def build(node: Plain | DictConfig, /, **given: Any) -> Any:
    """The object that `_target_` makes of the node and of `given`; a partial of it where the node says `_partial_: true`.

    Nested nodes are built first. No part receives an OmegaConf object, which a checkpoint could not hold: lists are
    lists, and `given` does not pass through OmegaConf at all.
    """
    if isinstance(node, DictConfig):
        node = cast(Plain, OmegaConf.to_container(node, resolve=True))
    factory = instantiate(dict(node), _partial_=True, _convert_="all")
    return factory if node.get("_partial_") else factory(**given)


def build_data(config: Plain | DictConfig) -> Any:
    """The DataModule, with its source of images."""
    plain = _plain(config)
    return build(plain["data"], **_shared(plain, "data"))


def build_task(config: Plain | DictConfig, spec: DataSpec) -> Any:
    """The LightningModule for data of this kind, with its model, loss, optimizer and scheduler."""
    plain = _plain(config)
    return build(plain["task"], spec=spec, **_shared(plain, "task"))


def shared_parts(target: Any, group: str) -> dict[str, str]:
    """The parameters of `target` that come from another place of the config, and that place."""
    parameters = inspect.signature(target).parameters
    return {name: place for name, place in SHARED.get(group, {}).items() if name in parameters}


def at(config: Plain, place: str) -> Any:
    """The value at a dotted key, None where there is none."""
    value: Any = config
    for key in place.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _shared(config: Plain, group: str) -> dict[str, Any]:
    target = _located(config[group]["_target_"])
    found = {name: at(config, place) for name, place in shared_parts(target, group).items()}
    return {name: build(part) if isinstance(part, Mapping) and "_target_" in part else part for name, part in found.items()}


def _located(target: str) -> Any:
    found = get_object(target)
    return found if callable(found) else get_class(target)


def _plain(config: Plain | DictConfig) -> Plain:
    return to_plain(config) if isinstance(config, DictConfig) else config

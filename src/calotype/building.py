"""Builds what a config names, each part once, from the one place where it stands."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from hydra.errors import InstantiationException
from hydra.utils import get_class, get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from calotype.places import with_home
from calotype.schema import to_plain
from calotype.types import DataSpec, UserError

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
    "dataset": {"output_dir": "paths.output_dir"},
}


def build(node: Plain | DictConfig, key: str = "", /, **given: Any) -> Any:
    """The object that `_target_` makes of the node and of `given`; a partial of it where the node says `_partial_: true`.

    Nested nodes are built first. No part receives an OmegaConf object, which a checkpoint could not hold: lists are
    lists, and `given` does not pass through OmegaConf at all.

    Args:
        key: of the node in the config, for errors.

    Raises:
        UserError: the part, or one within it, cannot be made of these arguments; names its key.
    """
    if isinstance(node, DictConfig):
        node = cast(Plain, OmegaConf.to_container(node, resolve=True))
    node = with_home(dict(node))
    with _errors_named(key, node["_target_"]):
        factory = _named(instantiate(dict(node), _partial_=True, _convert_="all"), key)
    return factory if node.get("_partial_") else factory(**given)


class Factory(functools.partial[Any]):
    """A partial whose errors name the key of the part."""

    key: str = ""

    def __call__(self, /, *args: Any, **keywords: Any) -> Any:
        with _errors_named(self.key, self.func):
            return super().__call__(*args, **keywords)


def _named(made: functools.partial[Any], key: str) -> Factory:
    """The partial as a Factory, and those among its arguments likewise."""
    inner = {name: _named(value, f"{key}.{name}") if type(value) is functools.partial else value for name, value in made.keywords.items()}
    factory = Factory(made.func, *made.args, **inner)
    factory.key = key
    return factory


@contextlib.contextmanager
def _errors_named(key: str, target: Any) -> Iterator[None]:
    """What a part raises, as one line with the key of the part; the traceback goes on as its cause."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        cause: BaseException = error
        if isinstance(error, InstantiationException):
            inner = re.search(r"full_key: (\S+)", str(error))
            key = ".".join(part for part in (key, inner[1] if inner else "") if part)
            cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        name = getattr(target, "__name__", str(target).rpartition(".")[2])
        text = " ".join(str(cause).partition("full_key:")[0].split()) or type(cause).__name__
        raise UserError(f"{key or name}: {name}: {shortened(text, 140)}") from cause


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def build_data(config: Plain | DictConfig) -> Any:
    """The DataModule, with its source of images. Image files of this process may be as large as the config says."""
    from calotype.images import set_max_megapixels

    plain = _plain(config)
    set_max_megapixels(plain.get("max_megapixels"))
    return build(plain["data"], "data", **_shared(plain, "data"))


def build_task(config: Plain | DictConfig, spec: DataSpec) -> Any:
    """The LightningModule for data of this kind, with its model, loss, optimizer and scheduler."""
    plain = _plain(config)
    return build(plain["task"], "task", spec=spec, **_shared(plain, "task"))


def shared_parts(target: Any, group: str) -> dict[str, str]:
    """The parameters of `target` that come from another place of the config, and that place."""
    parameters = inspect.signature(target).parameters
    return {name: place for name, place in SHARED.get(group, {}).items() if name in parameters}


def located(target: str) -> Any:
    """The object that a `_target_` names."""
    found = get_object(target)
    return found if callable(found) else get_class(target)


def at(config: Plain, place: str) -> Any:
    """The value at a dotted key, None where there is none."""
    value: Any = config
    for key in place.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _shared(config: Plain, group: str) -> dict[str, Any]:
    target = located(config[group]["_target_"])
    found = {name: at(config, place) for name, place in shared_parts(target, group).items()}
    places = shared_parts(target, group)
    return {name: _built(config, name, places[name], part) for name, part in found.items()}


def _built(config: Plain, name: str, place: str, part: Any) -> Any:
    if not (isinstance(part, Mapping) and "_target_" in part):
        return part
    return build(part, place, **(_shared(config, name) if name in SHARED else {}))


def _plain(config: Plain | DictConfig) -> Plain:
    return to_plain(config) if isinstance(config, DictConfig) else config

"""What may change when a run is resumed, and what would falsify what it was trained on."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from calotype.check import ConfigError, locate
from calotype.compose import compose_config, load_config
from calotype.overrides import value_of, with_value
from calotype.places import expanded
from calotype.run_folder import TakenError
from calotype.schema import conf_dir, flat, to_plain
from calotype.types import UserError

FREE_GROUPS = ("trainer", "hardware", "paths", "logger", "callbacks")  # every key of them may change
FREE_KEYS = ("name", "test_with", "max_megapixels")
COMMANDS = ("resume", "dry_run", "trust", "retry", "fail_fast")  # no settings of the run
SPEED_KEYS = ("num_workers", "ram_budget_mb")
# Last parts of the keys that say where files lie. That they hold the same data is checked when they are read.
PLACES = ("root", "path", "file", "folder", "data_dir", "output_dir")
# Beginnings of the keys that say how long a training takes: one that had ended goes on where they change.
LIMITS = ("trainer.max_", "trainer.min_", "callbacks.early_stopping", "task.")
# Keys that say how much is trained: what a checkpoint's note calls what was done, and in words.
COUNTED = {
    "trainer.max_epochs": ("epochs", "epochs"),
    "trainer.max_steps": ("step", "steps"),
    "task.steps": ("step", "steps"),
    "trainer.max_time": ("fit_seconds", "seconds"),
}


@dataclass(frozen=True)
class Change:
    """A setting with another value than before, from an optimizer step on."""

    key: str
    before: Any
    now: Any


@dataclass(frozen=True)
class Start:
    """How a run begins: as a new one, or from a checkpoint, with what has changed since.

    Attributes:
        resumed: go on from the last checkpoint, where there is one.
        changes: settings that hold from now on.
    """

    resumed: bool = False
    changes: tuple[Change, ...] = field(default=())

    @property
    def goes_further(self) -> bool:
        """Whether a limit was changed: a training that had ended goes on."""
        return any(change.key.startswith(LIMITS) for change in self.changes)

    @property
    def optimizer_changes(self) -> dict[str, tuple[Any, Any]]:
        """Argument of the optimizer -> (value before, value now)."""
        prefix = "optimizer."
        return {change.key[len(prefix) :]: (change.before, change.now) for change in self.changes if change.key.startswith(prefix)}

    def to_plain(self) -> dict[str, Any]:
        return {"resumed": self.resumed, "changes": [asdict(change) for change in self.changes]}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Start:
        return cls(plain["resumed"], tuple(Change(**change) for change in plain["changes"]))


def changed_config(folder: Path, overrides: Sequence[str], record: Mapping[str, Any], here: Path) -> tuple[DictConfig, list[Change]]:
    """The config of the run in `folder` with `overrides`, and what they change.

    Args:
        record: its run.json.
        here: the directory that relative paths among the overrides are relative to.

    Raises:
        ConfigError: an override would change what was trained, or is no setting.
    """
    for option in (override for override in overrides if override.startswith("-")):
        raise ConfigError(f"{option}: resume= takes settings, as trainer.max_epochs=40, and no options of the command")
    groups, keys = _sorted_out([o for o in overrides if not o.startswith("hydra.")], record, folder)
    before = load_config(folder)
    cfg = load_config(folder, [_absolute(override, here) for override in keys])
    for group, option in groups.items():
        OmegaConf.update(cfg, group, compose_config([f"{group}={option}"])[group], merge=False)

    old, new = flat(to_plain(before)), flat(to_plain(cfg))
    cfg = OmegaConf.create(_follow(to_plain(cfg), old, new))
    new = flat(to_plain(cfg))
    changes = [
        Change(key, old.get(key), new.get(key)) for key in sorted({*old, *new}) if key not in COMMANDS and old.get(key) != new.get(key)
    ]
    for change in changes:
        if change.key == "init_from" and change.now is not None:
            raise ConfigError(f"init_from={change.now}: resume= goes on from the run's own weights; give one of the two")
        if reason := _refusal(change, to_plain(before)):
            raise ConfigError(
                f"{change.key}={_typed(change.now)}: the run was trained with {_typed(change.before)}, {reason}; "
                f"init_from={folder} starts another run from its weights"
            )
    return cfg, changes


def _typed(value: Any) -> str:
    """As it is typed in an override."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def run_folder_of(typed: Path) -> Path:
    """The run folder that `resume=` names.

    Raises:
        ConfigError: there is none; of a place within a run folder, that folder is named.
    """
    folder = expanded(typed).resolve()
    if (folder / "config.yaml").is_file():
        return folder
    for parent in folder.parents[:3]:
        if (parent / "config.yaml").is_file() and (parent / "run.json").is_file() and os.path.lexists(folder):
            raise ConfigError(f"resume={typed}: lies within a run; give its folder {parent}")
    if not folder.is_dir():
        raise ConfigError(f"resume={typed}: no such folder; give a run folder, which has a config.yaml")
    raise ConfigError(f"resume={typed}: not a run folder (it has no config.yaml)")


def refuse_finished(folder: Path, record: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Say of a finished run how it could train on.

    Raises:
        TakenError: it is finished.
    """
    if record.get("status") != "finished":
        return
    task = locate(config["task"]["_target_"], "task")
    key = "trainer.max_epochs"
    if "max_epochs" in getattr(task, "ignores", {}):
        key = "task.steps" if "steps" in getattr(task, "may_change", ()) else ""
    done = record.get("epochs" if key == "trainer.max_epochs" else "steps")
    further = f"{key}=N above its {done} trains on, " if key and done is not None else ""
    raise TakenError(f"{folder} is finished; {further}calotype-rerun runs it again")


def has_reached(record: Mapping[str, Any], trainer: Mapping[str, Any]) -> bool:
    """Whether a run has come to a limit of this trainer, so that a change of another one trains no further."""
    limits = {"epochs": trainer.get("max_epochs"), "steps": trainer.get("max_steps")}
    return any((most := _limit(value)) is not None and int(record.get(name) or 0) >= most for name, value in limits.items())


def refuse_less(folder: Path, record: Mapping[str, Any], changes: Sequence[Change]) -> None:
    """Refuse a limit below what was trained already: the config would tell of another training than the one that was done.

    Args:
        record: run.json of the run in `folder`; a finished run takes more than it has, one that was cut off no less.

    Raises:
        ConfigError: a limit is too low.
        UserError: no checkpoint can be read.
    """
    limits = [(change, limit) for change in changes if change.key in COUNTED and (limit := _limit(change.now)) is not None]
    if not limits:
        return

    from calotype.callbacks.run_state import KEY
    from calotype.checkpoint_io import first_good_checkpoint, read_checkpoint

    path, _ = first_good_checkpoint(folder / "checkpoints", ("last", "best"))
    if path is None:
        return  # it starts over
    state = read_checkpoint(path)[KEY]
    is_finished = record.get("status") == "finished"
    for change, limit in limits:
        name, words = COUNTED[change.key]
        if limit < state[name] or (is_finished and limit == state[name]):
            raise ConfigError(
                f"{change.key}={change.now}: the run has {state[name]:.0f} {words} already; "
                f"give {'more' if is_finished else 'no less'}, or start another run"
            )


def _limit(value: Any) -> int | None:
    """A number of epochs, steps, or seconds, which are written as DD:HH:MM:SS; -1 and null are none."""
    if isinstance(value, str) and re.fullmatch(r"\d+(:\d\d){3}", value):
        days, hours, minutes, seconds = map(int, value.split(":"))
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def continue_in(folder: Path, parent: Path) -> None:
    """Copy of a finished run what a longer training goes on from.

    Raises:
        UserError: the parent has no checkpoint, or `folder` holds a run already.
    """
    if (folder / "run.json").exists():
        raise UserError(f"{folder} holds a run already; give another hydra.run.dir")
    if not (parent / "checkpoints" / "last.ckpt").is_file():
        raise UserError(f"{parent}: finished, and it has no last.ckpt to go on from")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("checkpoints", "images"):
        if (parent / name).is_dir():
            shutil.copytree(parent / name, folder / name, dirs_exist_ok=True)
    if (parent / "metrics.csv").is_file():
        shutil.copy2(parent / "metrics.csv", folder / "metrics.csv")


def in_force(record: Mapping[str, Any]) -> set[str]:
    """Of the overrides of a run the last one of each key, which is the one that holds."""
    return set({str(one).lstrip("+~").partition("=")[0]: str(one) for one in record.get("overrides", [])}.values())


def _sorted_out(overrides: Sequence[str], record: Mapping[str, Any], folder: Path) -> tuple[dict[str, str], list[str]]:
    """Options of groups that may change, and overrides of keys; what the run has already is left out."""
    groups: dict[str, str] = {}
    keys: list[str] = []
    known = in_force(record)
    chosen: Mapping[str, Any] = record.get("choices") or {}
    for override in overrides:
        key, _, value = override.partition("=")
        is_group = "/" in key or ((conf_dir() / key).is_dir() and not value.startswith(("{", "[")))
        if override in known or (is_group and str(chosen.get(key)) == value):
            continue
        if not is_group:
            keys.append(override)
        elif key in FREE_GROUPS:
            groups[key] = value
        else:
            raise ConfigError(
                f"{override}: {folder} was trained with {key}={_typed(chosen.get(key))}, which resume= cannot change; "
                f"init_from={folder} starts another run from its weights"
            )
    return groups, keys


def _refusal(change: Change, config: Mapping[str, Any]) -> str | None:
    """Why the change would falsify what was trained; None where it may be made."""
    top, _, rest = change.key.partition(".")
    last = change.key.rpartition(".")[2]
    if top not in config:
        return None  # no key of any run, which the check of the config says
    if top in FREE_GROUPS or change.key in FREE_KEYS or last in SPEED_KEYS:
        return None
    if last in PLACES and top in ("dataset", "data"):
        return None
    if top in ("optimizer", "loss"):
        is_kind = "_target_" in rest or change.before is None or change.now is None
        return f"and another kind of {top} does not go on with it" if is_kind else None
    if top == "task":
        may_change = getattr(locate(config["task"]["_target_"], "task"), "may_change", ())
        return None if rest in may_change else "and its metrics would be of two different trainings"
    kinds = {"seed": "seed", "data": "data and split", "dataset": "data", "model": "network"}
    return f"and its {kinds.get(top, top)} must stay the same"


def _follow(config: Any, old: Mapping[str, Any], new: Mapping[str, Any]) -> Any:
    """The config in which paths below a place that was changed lie below the new one."""
    moved = {
        str(old[key]): str(new[key])
        for key in old
        if key.rpartition(".")[2] in PLACES and old[key] and new.get(key) and old[key] != new[key]
    }

    def follow(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: follow(one) for key, one in value.items()}
        if isinstance(value, list):
            return [follow(one) for one in value]
        for before, now in moved.items():
            if isinstance(value, str) and (value == before or value.startswith(before + os.sep)):
                return now + value[len(before) :]
        return value

    return {key: follow(value) if key in ("data", "dataset", "task") else value for key, value in config.items()}


def _absolute(override: str, here: Path) -> str:
    """A relative path that is typed now is relative to where it is typed."""
    key, value = override.partition("=")[0], value_of(override)
    is_place = key.rpartition(".")[2] in PLACES
    if is_place and value not in ("", "null") and not value.startswith(("~", "$", "/")):
        return with_value(override, str(here / value))
    return override

"""Refuses a config that is wrong before anything is built: types, arguments of every `_target_`, the kinds of parts."""

from __future__ import annotations

import importlib
import inspect
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from typing import Any

from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from calotype.arguments import wrong_values
from calotype.building import SHARED, at, shared_parts, shortened
from calotype.choices import Choices, default_choice
from calotype.part_checks import UNUSED, WHOLE, missing_logger, other_kind, unfit_data, unfit_hardware, unused_part
from calotype.places import expanded
from calotype.ranges import MOST
from calotype.run_folder import is_name
from calotype.schema import AUTO, to_plain
from calotype.trainer_keys import contradictions, refused
from calotype.types import Needs, UserError

# What a sweep can be run by, and the extra of pyproject.toml that it takes.
ENGINES: dict[str, dict[str, str]] = {
    "launcher": {"basic": "", "joblib": "launchers", "submitit_local": "launchers", "submitit_slurm": "launchers", "ray": "ray"},
    "sweeper": {"basic": "", "paired": "", "search": "search"},
}

# What others call a key, or where they have it -> its place here.
ALIASES = {
    "lr": "optimizer.lr",
    "learning_rate": "optimizer.lr",
    "wd": "optimizer.weight_decay",
    "weight_decay": "optimizer.weight_decay",
    "epochs": "trainer.max_epochs",
    "num_epochs": "trainer.max_epochs",
    "max_epochs": "trainer.max_epochs",
    "steps": "trainer.max_steps",
    "max_steps": "trainer.max_steps",
    "batch_size": "data.batch_size",
    "num_workers": "data.num_workers",
    "gpus": "hardware.devices",
    "devices": "hardware.devices",
    "accelerator": "hardware.accelerator",
    "precision": "hardware.precision",
    "output_dir": "paths.output_dir",
    "data_dir": "paths.data_dir",
}

GROUPS = ("task", "dataset", "data", "model", "loss", "optimizer", "scheduler", "callbacks", "logger")


class ConfigError(UserError):
    """A config that cannot run."""

    exit_code = 2


def check(cfg: DictConfig, *, is_resumed: bool = False, typed: Sequence[str] = ()) -> None:
    """Raise ConfigError, naming the key, at the first thing that is wrong.

    Args:
        is_resumed: a run goes on with it; where its first weights came from no longer matters.
        typed: overrides; a key of the trainer that its task does not obey is refused where it is among them.
    """
    plain = check_root(cfg)
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    for group in ("callbacks", "logger"):
        for name, node in (raw.get(group) or {}).items():
            if not isinstance(node, dict) or "_target_" not in node:
                raise ConfigError(f"{group}.{name}: has no _target_, so nothing would be built from it (to leave it out: ~{group}.{name})")
            file = node.get("filename")
            if isinstance(file, str) and (Path(file).is_absolute() or ".." in Path(file).parts):
                raise ConfigError(f"{group}.{name}.filename={file}: must lie in the run folder, without ..")
    if not is_resumed:  # a run that is only used needs none of them
        check_loggers(plain)
    _check_have_target(plain)
    for path, node in _targets(raw):
        _bind(path, node, _at(plain, path))
    _check_kinds(plain, cfg)
    _check_shared(plain)
    _check_taken(plain)
    _check_monitors(plain)
    _check_plateau(plain)
    _check_hardware(plain["hardware"])
    for line in (*(line for _, line in refused_keys(plain, typed)), *contradictions(plain["trainer"], typed)):
        raise ConfigError(line)
    source = plain["init_from"]
    if source is not None and not is_resumed and not (expanded(source) / "run.json").is_file():
        raise ConfigError(f"init_from={source}: not a run folder (it has no run.json)")


def check_devices(plain: Mapping[str, Any]) -> None:
    """Raise ConfigError where this machine lacks the devices that a config asks for; a run that is only planned needs none."""
    import torch

    hardware = plain["hardware"]
    kind, devices = hardware["accelerator"], hardware["devices"]
    count = torch.cuda.device_count()
    has_mps = torch.backends.mps.is_available()
    if (kind in ("gpu", "cuda") and not count and not (kind == "gpu" and has_mps)) or (kind == "mps" and not has_mps):
        what = "GPU of an Apple computer" if kind == "mps" else "GPU"
        raise ConfigError(f"hardware.accelerator={kind}: torch finds no {what} on this machine; choose hardware=cpu")
    if kind == "auto" and not count and not has_mps:
        _check_hardware({**hardware, "accelerator": "cpu"})
    if kind not in ("gpu", "cuda", "auto") or not count:
        return
    found = f"torch finds {count} GPU{'s' if count > 1 else ''} on this machine"
    if isinstance(devices, int) and devices > count:
        raise ConfigError(f"hardware.devices={devices}: {found}; give at most {count}, or auto")
    if isinstance(devices, list) and any(number >= count for number in devices):
        raise ConfigError(f"hardware.devices={devices}: {found}, counted from 0")


def _check_hardware(hardware: Mapping[str, Any]) -> None:
    """What no machine has: a strategy that Lightning does not know, a CPU with a number."""
    from pytorch_lightning.strategies import StrategyRegistry

    name, devices = hardware["strategy"], hardware["devices"]
    # By rank: those that the comment in conf/ names stand first.
    strategies = list(dict.fromkeys(["auto", "ddp", "fsdp", *StrategyRegistry.available_strategies()]))
    if name not in strategies:
        raise ConfigError(wrong("hardware.strategy", name, " | ".join(strategies), strategies))
    if hardware["accelerator"] == "cpu" and devices != "auto" and (isinstance(devices, list) or _number(devices) < 1):
        raise ConfigError(f"hardware.devices={devices}: must be a number on the CPU, as hardware.devices=1; a list names GPUs")


def _number(devices: int | str) -> int:
    """A number of devices, 0 where the text is none."""
    return int(devices) if str(devices).isdecimal() else 0


def check_loggers(plain: Mapping[str, Any]) -> None:
    """Raise ConfigError where the package of a logger is not installed, which its class says only when it is made."""
    for name, node in (plain["logger"] or {}).items():
        if told := missing_logger(name, str(node["_target_"])):
            raise ConfigError(told)


def check_root(cfg: DictConfig) -> dict[str, Any]:
    """Every key that is no part, seeds and mandatory values; imports no torch. Returns the resolved config."""
    try:
        body = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
        missing = sorted(key for key in OmegaConf.missing_keys(body) if not key.startswith("hydra"))
        if missing:
            raise ConfigError(f"{missing[0]}: must be given, as {missing[0]}=VALUE")
        plain = to_plain(cfg)
    except OmegaConfBaseException as error:
        raise ConfigError(tell(error)) from None

    from calotype.settings import TAKEN_OUT, faults  # not above: help and completion need no pydantic

    for key, wanted, words in faults(plain):
        if not wanted:
            raise ConfigError(no_such(key, words))
        given = at(plain, key)
        raise ConfigError(f"{key}: must be {wanted}" if wanted == TAKEN_OUT else wrong(key, given, wanted, words))
    if not is_name(plain["name"]):
        raise ConfigError(f"name={plain['name']}: must be the name of a folder, without slashes and control characters, up to 200 bytes")
    for key, value in plain["paths"].items():
        check_folder(f"paths.{key}", str(value))
        plain["paths"][key] = str(expanded(value))
    with open_dict(cfg):
        cfg.paths = plain["paths"]
        for group in GROUPS:
            cfg.setdefault(group, None)  # ~model takes the key away
            plain.setdefault(group, None)
    if plain["data"] is None:
        raise ConfigError("data: must be given, as data=VALUE")
    return plain


def no_such(key: str, legal: Iterable[str]) -> str:
    """That there is no such key, with the nearest ones."""
    where, _, name = key.rpartition(".")
    return f"{key}: no such key in {where or 'the config'}{nearest(name, legal, most=3)} (all keys: --cfg job)"


def wrong(key: str, value: Any, wanted: str, words: Iterable[str] = ()) -> str:
    """That a value is not what it must be, within 200 characters."""
    given = "null" if value is None else str(value).lower() if isinstance(value, bool) else " ".join(str(value).split())
    shown = given if len(given) <= 60 else given[:59] + "…"
    if isinstance(value, int) and value > MOST and "whole number" in wanted:
        wanted += f", up to {MOST}"
    if isinstance(value, float) and not math.isfinite(value):
        wanted = wanted.replace("a number", "a finite number", 1)
    return f"{key}={shown}: must be {wanted if len(wanted) <= 90 else wanted[:89] + '…'}{nearest(given, words)}"


def check_folder(key: str, value: str) -> None:
    """Raise ConfigError where a path is empty, which would be the current or the root folder, or has control characters."""
    if not value.strip() or any(unicodedata.category(c) == "Cc" for c in value):
        raise ConfigError(f"{key}={value}: must be a folder, as {key}=outputs, without control characters")


def tell(error: OmegaConfBaseException) -> str:
    """One line of an OmegaConf error, with the nearest legal names where a key is unknown."""
    first = (str(error.msg or error) or type(error).__name__).splitlines()[0]
    key = error.full_key or str(error.key or "")
    parent = error.parent_node
    if "not in" in first and isinstance(parent, DictConfig):
        return no_such(key, [str(k) for k in parent if k != "hydra"])
    return f"{key}: {first}" if key and not first.startswith(key) else first


def is_of_a_group(error: BaseException) -> bool:
    """Whether Hydra was given null for a group, which it says by an error that has no class of its own."""
    return isinstance(error, ValueError) and "Config group override must be" in str(error)


def tell_hydra(error: BaseException) -> str:
    """What Hydra's error says, in one line."""
    if is_of_a_group(error):
        return "a group takes the name of an option, not null: logger=none, scheduler=none, or ~GROUP to leave it out"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        top, _, wanted = error.missing_cfg_file.partition("/")
        if not wanted:
            return f"--config-name {top}: no {top}.yaml in the folder that --config-dir names, nor among the project's configs"
        if top == "hydra" and (engine := wanted.partition("/")[0]) in ENGINES:
            engines = ENGINES[engine]
            given = wanted.partition("/")[2]
            extra = engines.get(given)
            if (engine, given) == ("sweeper", "optuna"):
                return (
                    "hydra/sweeper=optuna: the package hydra-optuna-sweeper is not installed; Calotype's own search is hydra/sweeper=search"
                )
            missing = f"needs the extra {extra}: pip install 'calotype[{extra}]'" if extra else f"no such choice{nearest(given, engines)}"
            return f"hydra/{engine}={given}: {missing} (hydra/{engine}: {', '.join(engines)})"
        options = Choices.of_message(str(error)).options(top)
        return f"{top}={shortened(wanted, 60)}: no such choice{nearest(wanted, options, most=3)} (all choices: --help)"
    cause = error.__cause__ or error.__context__
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        where = str(error).partition(":")[0] if str(error).startswith("In '") else ""  # In 'experiment/mine'
        return f"{where}: {tell(cause)}" if where else tell(cause)
    if isinstance(error, YAMLError):
        mark = getattr(error, "problem_mark", None)
        place = f"{mark.name}, line {mark.line + 1}: " if mark else ""
        return f"{place}not YAML ({getattr(error, 'problem', None) or error})"
    if isinstance(error, OmegaConfBaseException):
        return tell(error)
    if absent := re.search(r"Could not delete from config. '(.*?)' does not exist", str(error)):
        return f"~{absent[1]}: there is no such key to take away (all keys: --cfg job)"
    if present := re.search(r"An item is already at '(.*?)'", str(error)):
        return f"{present[1]}: it is in the config already; leave out the +"
    return " ".join(str(error).split())


def nearest(name: str, legal: Iterable[str], most: int = 1) -> str:
    """`; did you mean X?`, or nothing."""
    names = list(legal)
    full = ALIASES.get(name, "")
    known = full.rpartition(".")[2]
    if known in names:
        return f"; did you mean {known}?"
    if full and "trainer" in names:  # the root of the config
        return f"; did you mean {full}?"
    near = get_close_matches(name, names, n=most, cutoff=0.75) or get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def takes(legal: Sequence[str]) -> str:
    """` (it takes A, B)`, shortened."""
    text = ", ".join(legal)
    return f" (it takes {text if len(text) <= 100 else text[:99] + '…'})" if legal else " (it takes none)"


def listed(options: Sequence[str], like: str = "", most: int = 3, room: int = 80) -> str:
    """`a | b | c`, of many the ones most like a name, be it with or without their folders, and no more than fit into `room`."""

    def likeness(option: str) -> float:
        return max(SequenceMatcher(None, like, name).ratio() for name in (option, option.rpartition("/")[2]))

    ranked = sorted(options, key=likeness, reverse=True) if like else list(options)
    near = [option for option in ranked if likeness(option) >= 0.4]
    options = [*near, *(option for option in options if option not in near)]
    names = list(options[:most])
    while len(" | ".join(names)) > room and len(names) > 1:
        names.pop()
    return " | ".join(names) + (" | ... (see --help)" if len(options) > len(names) else "")


def locate(target: str, path: str) -> Any:
    """The object that `_target_` names."""
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", target):
        shown = "null" if target == "None" else shortened(target, 60)
        raise ConfigError(f"{path}._target_={shown}: must be the name of a class with its module, as torch.nn.Identity")
    module, _, name = target.rpartition(".")
    parts = [name]
    while module:
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
                raise ConfigError(f"{path}._target_={target}: needs the package {error.name}, which is not installed") from None
            module, _, outer = module.rpartition(".")
            parts.insert(0, outer)
            continue
        for i, part in enumerate(parts):
            if not hasattr(found, part):
                where = ".".join([module, *parts[:i]])
                raise ConfigError(f"{path}._target_={target}: {where} has no {part}{nearest(part, dir(found))}")
            found = getattr(found, part)
        return found
    raise ConfigError(f"{path}._target_={target}: there is no package {target.partition('.')[0]} to import")


def _targets(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Nodes with `_target_`, outermost first; interpolated ones (`${model}`) once, where they stand."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            if not (path == "" and key == "hydra"):
                yield from _targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _targets(value, f"{path}[{i}]")


def _at(plain: Any, path: str) -> dict[str, Any]:
    for part in path.replace("[", ".[").split("."):
        plain = plain[int(part[1:-1])] if part.startswith("[") else plain[part]
    return plain


def _check_have_target(plain: Mapping[str, Any]) -> None:
    """A group that holds settings names what is made with them; the task would be handed the settings themselves."""
    for group in GROUPS:
        node = plain[group]
        if group not in ("callbacks", "logger") and node is not None and not _is_part(node):
            raise ConfigError(f"{group}: has no _target_, so nothing would be built from it; choose one as {group}={default_choice(group)}")


def _bind(path: str, raw: dict[str, Any], node: dict[str, Any]) -> None:
    target = locate(str(node["_target_"]), path)
    if told := other_kind(path, target):
        raise ConfigError(told)
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        raise ConfigError(f"{path}._target_={node['_target_']}: not something that can be called") from None
    named = {name: p for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    # A module without a constructor of its own has Module's, which takes nothing but looks as if it took all.
    is_bare = getattr(getattr(target, "__init__", None), "__qualname__", "") == "Module.__init__"
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values()) and not is_bare
    for key in ("_convert_", "_recursive_"):
        if key in raw:
            raise ConfigError(f"{path}.{key}: every part is built with those within it, and of plain lists; leave it out")
    if node.get("_partial_") and (path in WHOLE or path.startswith(("callbacks.", "logger."))) and path.count(".") < 2:
        raise ConfigError(f"{path}._partial_: this part is built at once, with all that it takes; leave it out")
    given = {str(key) for key in raw if key not in ("_target_", "_partial_", "_args_")}
    shared = shared_parts(target, path)
    for name in sorted(given & set(shared)):
        raise ConfigError(f"{path}.{name}: it has one place in the config, {shared[name]}; set it there")

    provided = {*_framework_arguments(path), *shared}
    for name in sorted(given - set(named)):
        legal = sorted(set(named) - provided)
        if not takes_any or name.startswith("_") or get_close_matches(name, [*legal, "_target_"], n=1, cutoff=0.7):
            what = str(node["_target_"]).rpartition(".")[2]
            raise ConfigError(f"{path}.{name}: {what} takes no such argument{nearest(name, legal, most=3) or takes(legal)}")
    if not node.get("_partial_") and "_args_" not in raw:
        absent = [name for name, p in named.items() if p.default is p.empty and name not in given | provided]
        if absent and path in UNUSED:
            raise ConfigError(f"{path}._partial_: must be true, since the task gives {absent[0]} to it; leave the override of it out")
        if absent:
            raise ConfigError(f"{path}.{absent[0]}: {node['_target_']} needs it, and it is not given")
    _check_values(path, target, {name: node[name] for name in given & set(named)})


def _framework_arguments(path: str) -> set[str]:
    """What the framework hands to the part at this place, beside what other groups hold."""
    if path == "task":
        return {"spec"}
    return {"save_dir"} if path.startswith("logger.") and path.count(".") == 1 else set()


def _check_values(path: str, target: Any, values: dict[str, Any]) -> None:
    for name, wanted, words in wrong_values(target, values):
        raise ConfigError(wrong(f"{path}.{name}", values[name], wanted, words))


def _check_shared(plain: dict[str, Any]) -> None:
    """What a task or DataModule must have from another place of the config is there."""
    for group in SHARED:
        if not isinstance(plain[group], dict) or "_target_" not in plain[group]:
            continue  # a data set that the task does without
        target = locate(str(plain[group]["_target_"]), group)
        parameters = inspect.signature(target).parameters
        for name, place in shared_parts(target, group).items():
            if at(plain, place) is None and parameters[name].default is inspect.Parameter.empty:
                what = str(plain[group]["_target_"]).rpartition(".")[2]
                raise ConfigError(f"{place}: {what} needs it; give one, as {place.replace('.', '/')}=NAME")


def _check_taken(plain: dict[str, Any]) -> None:
    """What stands in the config is taken by the task: a network that nothing is made with is a mistake."""
    task = str(plain["task"]["_target_"])
    takes = inspect.signature(locate(task, "task")).parameters
    for group in ("model", "loss", "optimizer", "scheduler"):
        if plain[group] is not None and group not in takes:
            raise ConfigError(f"{group}: {task.rpartition('.')[2]} takes none; leave it out, as ~{group}")


def _check_plateau(plain: dict[str, Any]) -> None:
    """A scheduler that watches a metric has one, and a training to shorten."""
    from calotype.callbacks.plateau import is_plateau

    node = plain["scheduler"]
    if not isinstance(node, dict) or "_target_" not in node or not is_plateau(locate(str(node["_target_"]), "scheduler")):
        return
    task = locate(str(plain["task"]["_target_"]), "task")
    name = task.__module__.rpartition(".")[2]
    monitors = getattr(task, "monitors", {})
    if not monitors:
        raise ConfigError(f"scheduler: ReduceLROnPlateau watches a metric, and task={name} has none of its own; choose another, or none")
    model = plain["model"]
    if isinstance(model, dict) and hasattr(locate(str(model["_target_"]), "model"), "fit"):
        raise ConfigError("scheduler: the model is fitted at once, so that no learning rate can fall; choose scheduler=none")
    own = getattr(task, "own_monitor", next(iter(monitors)))  # a property, where the data decide; all of its kind are better by one mode
    mode = monitors[own if isinstance(own, str) else next(iter(monitors))]
    if node.get("mode", mode) != mode:
        raise ConfigError(f"scheduler.mode={node['mode']}: of the metric that task={name} is judged by {mode} is better; leave it out")


def _check_kinds(plain: dict[str, Any], cfg: DictConfig) -> None:
    """Each task states what it needs of its data, model and loss; anything else is refused."""
    for group in ("task", "data"):
        if not _is_part(plain[group]):
            raise ConfigError(f"{group}: must be given, as {group}={default_choice(group)}")
    node = plain["task"]
    task = node["_target_"].split(".")[-2]
    needs: Needs | None = getattr(locate(node["_target_"], "task"), "needs", None)
    if needs is None:
        return
    groups = {"data": _data_fits, "model": _model_fits if needs.model else None, "loss": _loss_fits if needs.loss else None}
    for group, fits in groups.items():
        if fits is None:
            continue
        part = plain.get(group)
        if not isinstance(part, dict) or "_target_" not in part:
            raise ConfigError(f"{group}: task={task} needs one; choose {group}={listed(_fitting(group, fits, needs, Choices.of(cfg)))}")
        wrong = fits(locate(part["_target_"], group), needs)
        if wrong:
            options = listed(_fitting(group, fits, needs, Choices.of(cfg)), like=part["_target_"].split(".")[-2])
            raise ConfigError(f"{group}: {part['_target_'].rpartition('.')[2]} {wrong}; task={task} takes {group}={options}")
    parts = {group: locate(plain[group]["_target_"], group) for group in ("task", "data", "dataset", *UNUSED) if _is_part(plain.get(group))}
    networks = [locate(network["_target_"], path) for path, network in _targets(plain.get("model"), "model")]
    if told := unused_part(parts) or unfit_data(parts, networks) or unfit_hardware(parts, plain["hardware"]):
        raise ConfigError(told)
    mismatch = getattr(locate(node["_target_"], "task"), "mismatch", None)
    if mismatch is not None:
        shared = shared_parts(locate(node["_target_"], "task"), "task")
        parts = {**{name: at(plain, place) for name, place in shared.items()}, **node}
        parts = {name: part for name, part in parts.items() if isinstance(part, dict) and "_target_" in part}
        told = mismatch(**{name: locate(part["_target_"], f"task.{name}") for name, part in parts.items()})
        if told:
            raise ConfigError(told)


def _is_part(node: Any) -> bool:
    return isinstance(node, dict) and "_target_" in node


def _check_monitors(plain: dict[str, Any]) -> None:
    """What callbacks watch is measured by the task."""
    task = plain["task"]["_target_"]
    monitors = getattr(locate(task, "task"), "monitors", {})
    for name, node in (plain["callbacks"] or {}).items():
        monitor, key = node.get("monitor"), f"callbacks.{name}.monitor"
        if monitor == AUTO and not monitors:
            raise ConfigError(
                f"{key}=auto: {task.rpartition('.')[2]} has no metric of its own for it; give one, or leave it out: ~callbacks.{name}"
            )
        if monitors and monitor not in (None, AUTO, *monitors):
            raise ConfigError(f"{key}={monitor}: the task measures {', '.join(monitors)}{nearest(str(monitor), monitors)}"[:185])


def refused_keys(plain: dict[str, Any], typed: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the typed keys that the task or its model does not obey, each with a line that says why."""
    part = plain["model"]
    model = locate(str(part["_target_"]), "model") if isinstance(part, dict) and "_target_" in part else None
    yield from refused(locate(str(plain["task"]["_target_"]), "task"), model, plain["trainer"], typed)
    if model is None or not hasattr(model, "fit"):
        return
    for key in (override.lstrip("+").partition("=")[0] for override in typed):
        group = re.split(r"[./@]", key)[0]
        if group in ("optimizer", "scheduler") and plain[group] is not None:
            yield key, f"{key}: nothing descends here, since {model.__name__} is fitted at once; leave it out"


def _data_fits(target: Any, needs: Needs) -> str:
    batch = getattr(target, "batch", None)
    if isinstance(batch, type) and issubclass(batch, needs.batch):
        return ""
    return f"gives {getattr(batch, '__name__', 'no batches')}, not {needs.batch.__name__}"


def _model_fits(target: Any, needs: Needs) -> str:
    forward = getattr(target, "forward", None)
    if forward is None or not str(getattr(target, "__module__", "")).startswith("calotype."):
        return ""  # somebody's own network: its output is checked with the first batch
    gives = forward.__annotations__.get("return")
    return "" if gives == needs.model else f"gives {gives}, not {needs.model}"


def _loss_fits(target: Any, needs: Needs) -> str:
    forward = getattr(target, "forward", None)
    if forward is None:
        return "has no forward"
    needed = needs.loss or ()
    takes = tuple(inspect.signature(forward).parameters)[1 : 1 + len(needed)]
    fits = len(takes) == len(needed) and all(name in wanted.split("|") for name, wanted in zip(takes, needed, strict=True))
    return "" if fits else f"takes ({', '.join(takes)}), not ({', '.join(needed)})"


def _fitting(group: str, fits: Any, needs: Needs, choices: Choices) -> list[str]:
    """The options of a group that the task could take."""
    return [option for option in choices.options(group) if _is_fitting(choices.target(group, option), group, fits, needs)]


def _is_fitting(target: str | None, group: str, fits: Any, needs: Needs) -> bool:
    try:
        return target is not None and not fits(locate(target, group), needs)
    except ConfigError:  # an option of somebody's whose package is not there
        return False

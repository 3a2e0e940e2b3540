"""What keeps parts from working together that neither their arguments nor their kinds say, found before anything is built."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from calotype.types import IdentityBatch, LabelledBatch, PairBatch

# Class of a logger -> the package that it writes by, and what installs that.
LOGGERS = {
    "WandbLogger": ("wandb", "calotype[wandb]"),
    "MLFlowLogger": ("mlflow", "calotype[mlflow]"),
    "CometLogger": ("comet_ml", "comet-ml"),
    "NeptuneLogger": ("neptune", "neptune"),
    "TensorBoardLogger": ("tensorboard", "tensorboard"),
    "LitLogger": ("litlogger", "litlogger"),
}
# What the part of a group must be (each of callbacks and logger): class and the module that it is imported from.
KINDS = {
    "task": ("pytorch_lightning", "LightningModule"),
    "data": ("pytorch_lightning", "LightningDataModule"),
    "model": ("torch.nn", "Module"),
    "loss": ("torch.nn", "Module"),
    "optimizer": ("torch.optim", "Optimizer"),
    "scheduler": ("torch.optim.lr_scheduler", "LRScheduler"),
    "callbacks": ("pytorch_lightning", "Callback"),
    "logger": ("pytorch_lightning.loggers", "Logger"),
}
SHARDED = ("fsdp", "deepspeed", "model_parallel")  # strategies that take a model apart, by the start of their names
WHOLE = ("task", "data", "dataset")  # groups whose parts are built at once; the task is given the others, to build them itself
UNUSED = ("model", "loss", "optimizer", "scheduler")  # groups that a task may do without


def missing_logger(name: str, target: str) -> str:
    """Return that the package of a logger is not installed, and what installs it; nothing where it is."""
    package, requirement = LOGGERS.get(target.rpartition(".")[2], ("", ""))
    try:
        is_there = not package or find_spec(package) is not None
    except (ImportError, ValueError):  # half removed
        is_there = False
    told = f"logger.{name}: the package {package} is not installed: pip install '{requirement}', or leave it out: ~logger.{name}"
    return "" if is_there else told


def other_kind(path: str, target: Any) -> str:
    """Return that what a config names makes nothing of the kind that its place is for; nothing where it does, or may.

    A function of Python's may make anything where it does not say what it returns, but for callbacks and loggers.

    Args:
        path: of the node in the config.
        target: what its `_target_` names.
    """
    group, _, name = path.partition(".")
    if group not in KINDS or "." in name or "[" in path or bool(name) != (group in ("callbacks", "logger")):
        return ""
    module, kind = KINDS[group]
    wanted = getattr(importlib.import_module(module), kind)
    if inspect.isclass(target):
        fits = issubclass(target, wanted)
    else:
        returned = _returned(target)
        is_open = returned is None and not name and inspect.isfunction(target) and "return" not in target.__annotations__
        fits = is_open or (inspect.isclass(returned) and issubclass(returned, wanted))
    shown = getattr(target, "__name__", str(target))
    remedy = f"name a class derived from {module}.{kind}, or a function that says it returns one"
    return "" if fits else f"{path}: {shown} makes no {kind}; {remedy}"


def _returned(function: Any) -> Any:
    """What a function says that it returns, None where it says nothing or that cannot be resolved."""
    said = getattr(function, "__annotations__", {})
    if "return" not in said:
        return None
    holder = type("holder", (), {"__annotations__": {"returned": said["return"]}})
    try:
        return typing.get_type_hints(holder, getattr(inspect.unwrap(function), "__globals__", {}))["returned"]
    except (NameError, TypeError, AttributeError, SyntaxError):
        return None


def unused_part(parts: Mapping[str, Any]) -> str:
    """Return that a group has a part which neither the task nor the data would build; nothing where all are used."""
    task, data = parts["task"], parts["data"]
    name = task.__module__.rpartition(".")[2]
    for group in UNUSED:
        if parts.get(group) is not None and group not in inspect.signature(task).parameters:
            return f"{group}: task={name} takes none, and this one would not be used; leave out {group}=, or take it away by ~{group}"
    if parts.get("dataset") is not None and "dataset" not in inspect.signature(data).parameters:
        return f"dataset: task={name} makes its pictures from nothing (data={data.__module__.rpartition('.')[2]}); leave dataset= out"
    return ""


def unfit_hardware(parts: Mapping[str, Any], hardware: Mapping[str, Any]) -> str:
    """Return that a strategy or a precision cannot train these parts; nothing where it can.

    Args:
        parts: group -> class or function.
        hardware: the settings.
    """
    name, precision = str(hardware["strategy"]), hardware["precision"]
    task = parts["task"].__module__.rpartition(".")[2]
    if name.startswith(SHARDED) and "overfit_batches" in getattr(parts["task"], "ignores", {}):
        return f"hardware.strategy={name}: task={task} works on one picture, and there is nothing to take apart; choose hardware=auto"
    if name.startswith(SHARDED) and getattr(parts["task"], "trains_in_turn", False):
        return f"hardware.strategy={name}: task={task} trains networks in turn, and a sharded model is trained as one; choose hardware=ddp"
    is_lbfgs = getattr(parts.get("optimizer"), "__name__", "") == "LBFGS"
    if is_lbfgs and getattr(parts["task"], "trains_in_turn", False):
        return f"optimizer: LBFGS compares the loss before and after a step, and task={task} trains networks in turn; choose optimizer=adam"
    if is_lbfgs and str(precision).startswith("16"):
        return f"hardware.precision={precision}: LBFGS cannot follow a loss that is scaled for 16 bits; choose bf16-mixed or 32-true"
    return ""


def unfit_data(parts: Mapping[str, Any], networks: Sequence[Any]) -> str:
    """Return that a data set holds what the model or the task cannot take, as far as its function says what it holds.

    Args:
        parts: group -> class or function.
        networks: what the model is made of, itself and those inside it.
    """
    dataset, data = parts.get("dataset"), parts["data"]
    holds = getattr(dataset, "holds", None)
    if dataset is None or holds is None or "dataset" not in inspect.signature(data).parameters:
        return ""
    task = parts["task"].__module__.rpartition(".")[2]
    # Networks of others say nothing of themselves.
    of_images = [one for one in networks if one.__module__.startswith("calotype.") and not getattr(one, "takes_points", False)]
    if holds.points and (of_images or not networks):
        who = of_images[0].__name__ if of_images else f"task={task}"
        model = getattr(parts["task"], "points_model", None)
        remedy = f", or model={model}" if model else ""
        return f"dataset: {dataset.__name__} holds points, and {who} takes images; choose dataset=digits{remedy}"
    if holds.one and not getattr(data, "takes_one", False):
        return f"dataset: {dataset.__name__} is a single image, and task={task} splits its data; choose dataset=digits, or a folder"
    if not holds.labels and issubclass(data.batch, LabelledBatch | IdentityBatch | PairBatch):
        return f"dataset: {dataset.__name__} has no labels, and task={task} needs them; choose dataset=digits, or a folder of classes"
    return ""

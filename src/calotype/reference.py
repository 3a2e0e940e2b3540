"""The classifier that generated images are measured by: trained once for a data set, and kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from calotype.compose import compose_config, load_config
from calotype.console import echo
from calotype.places import expanded
from calotype.records import read_record
from calotype.resume import Start
from calotype.run_folder import TakenError, has_begun, shown, wait_while_running
from calotype.schema import config_hash, to_plain
from calotype.types import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

RECIPE = ("task=classification", "name=judge", "logger=none", "trainer.max_epochs=10")
FOLDER = "judges"


def reference_folder(cfg: DictConfig, train: Callable[..., Any], *, is_main: bool) -> Path:
    """The run of task=classification that `task.classifier` names; with `auto` it is trained where there is none yet.

    Runs that are started side by side wait for the first of them to train it, and one that was cut off is resumed. It
    has a seed and a split of its own, so that runs of all seeds are measured by the same classifier. It is trained by
    one process, whatever the run's hardware.

    Args:
        train: called with (config, folder, start), as `runner.launch`.
        is_main: the process that trains; the others of a distributed run come when it is done.

    Raises:
        UserError: the run that is named is of another task.
    """
    named = cfg.task.classifier
    if named != "auto":
        check_reference(cfg)
        return expanded(named)

    chosen = _config(cfg)
    folder = Path(cfg.paths.output_dir) / FOLDER / config_hash(chosen)
    if not is_main or (folder / "metrics.json").is_file():
        return folder
    _train_once(_on_one_device(chosen, cfg), folder, train)
    return folder


def check_reference(cfg: DictConfig) -> None:
    """Raise UserError where `task.classifier` names a run that is no classifier, or that takes trust."""
    named = cfg.task.get("classifier")
    if named in (None, "auto"):
        return
    task = load_config(expanded(named)).task._target_.split(".")[-2]
    if task != "classification":
        raise UserError(f"task.classifier={named}: a run of task={task}, not of task=classification")


def _config(cfg: DictConfig) -> DictConfig:
    """Of the classifier: the data and preprocessing of the run, all else the default."""
    config, run = to_plain(compose_config(RECIPE)), to_plain(cfg)
    config |= {"dataset": run["dataset"], "paths": run["paths"]}
    for key in ("preprocess", "classes", "largest_classes", "positive"):
        config["data"][key] = run["data"].get(key)
    return OmegaConf.create(config)


def _on_one_device(config: DictConfig, cfg: DictConfig) -> DictConfig:
    """With the run's hardware, which does not make it another classifier."""
    hardware = to_plain(cfg)["hardware"] | {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    return OmegaConf.create(to_plain(config) | {"hardware": hardware | {"sync_batchnorm": False}})


def _train_once(config: DictConfig, folder: Path, train: Callable[..., Any]) -> None:
    """What another process is at is awaited, what was cut off is resumed."""
    while not (folder / "metrics.json").is_file():
        if wait_while_running(folder):
            continue
        was_begun = has_begun(folder)
        verb = "resuming" if was_begun else "training"
        echo(f"{verb} the reference classifier, once for this data, in {shown(folder)}")
        try:
            train(config, folder, start=Start(resumed=was_begun))
        except TakenError:  # by another process, a moment ago
            is_finished = read_record(folder).get("status") == "finished"
            if is_finished and not (folder / "metrics.json").is_file():
                raise

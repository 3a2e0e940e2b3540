"""One run from config to run folder: seed, build, fit, evaluate, write."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from calotype.building import build_data, build_task
from calotype.causes import is_interruption
from calotype.check import ConfigError, check, check_devices, check_folder, check_loggers, check_root
from calotype.compose import compose_config, directory_of, load_config
from calotype.confinement import confine
from calotype.console import complain, echo
from calotype.hardware import own_processes
from calotype.loggers import closed_loggers
from calotype.overrides import quoted, value_of
from calotype.places import expanded, is_place
from calotype.records import read_record
from calotype.reference import check_reference, reference_folder
from calotype.resume import Start, changed_config, continue_in, has_reached, in_force, refuse_finished, refuse_less, run_folder_of
from calotype.run_folder import RunRecord, is_name, shown, write_json, write_text
from calotype.run_log import LOG, logged
from calotype.schema import config_hash, flat, to_plain
from calotype.trainer import name_of, quiet
from calotype.training import Training, evaluate, fit
from calotype.trust import is_all_trusted, targets_of, trusting
from calotype.types import DataSpec, UserError
from calotype.user_code import user_code
from calotype.user_errors import as_user_error, other_model

__all__ = ["ConfigError", "Result", "compose_config", "launch", "load", "load_config", "resume", "run"]


WORKER_ERROR = ".worker_error"  # in the run folder: what went wrong in a further process of the run


@dataclass(frozen=True)
class Result:
    """What a run gave: final metrics, its folder, the trained LightningModule (None after a dry run)."""

    metrics: dict[str, float | None]
    run_dir: Path
    module: Any


def run(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> Result:
    """Compose the config from `overrides`, as the command line does, and run it.

    Args:
        overrides: Hydra's, `["experiment=classification/digits", "seed=1"]`; `resume=RUN` goes on with a run.
        config_dir: another primary folder of configs.

    Raises:
        ConfigError: the config is wrong; nothing was written.
        UserError: found while running; the run folder says failed.
    """
    overrides = quoted(overrides)
    resumed = [value_of(o) for o in overrides if o.startswith("resume=")]
    if resumed and resumed[-1] not in ("", "null"):
        return resume(Path(resumed[-1]), [o for o in overrides if not o.startswith("resume=")])

    folder = Path(config_dir) if config_dir else None
    cfg = compose_config(overrides, folder=folder, hydra=True)
    check_root(cfg)
    check_folder("hydra.run.dir", cfg.hydra.run.dir)
    run_dir = expanded(cfg.hydra.run.dir)
    return launch(cfg, run_dir, overrides=overrides, choices=cfg.hydra.runtime.choices, typed=overrides)


def resume(folder: Path, overrides: Sequence[str] = ()) -> Result:
    """Go on with the run in `folder` from its last checkpoint, or from the start where it has none.

    A finished run goes on in a new folder, which names it as its parent, where `overrides` let it train longer.

    Raises:
        ConfigError: an override would change what was trained, or a limit is below what was.
        UserError: it is running, or finished and nothing lets it go on.
    """
    overrides = quoted(overrides)
    folder = run_folder_of(folder)
    record = read_record(folder)
    here = Path.cwd()

    with directory_of(record), trusting(_is_trust_typed(overrides)):
        cfg, changes = changed_config(folder, overrides, record, here)
        refuse_less(folder, record, changes)
        now = _new_overrides(overrides, record)
        cfg = confined(cfg, folder, here, typed=overrides, new=now)
        start = Start(resumed=True, changes=tuple(changes))
        if not start.goes_further or has_reached(record, to_plain(cfg)["trainer"]):
            refuse_finished(folder, record, to_plain(cfg))
        typed = [*record.get("overrides", []), *now]
        parent = None
        if record.get("status") == "finished" and start.goes_further:
            parent, folder = folder, _new_folder(cfg, record, overrides)
            if not cfg.dry_run:
                continue_in(folder, parent)
        return launch(cfg, folder, overrides=typed, choices=record.get("choices"), start=start, parent=parent, typed=now)


def confined(cfg: DictConfig, folder: Path, here: Path, *, typed: Sequence[str] = (), new: Sequence[str] = ()) -> DictConfig:
    """The config of the run in `folder`, which writes where its reader would have it, see `confinement`; it is checked.

    Args:
        typed: what is typed now, `new`: what of it the run does not have already.
    """
    own = {"output_dir": "", "data_dir": ""} if is_all_trusted() else to_plain(compose_config([]))["paths"]
    refuse_empty(to_plain(cfg))
    told: list[str] = []
    cfg = OmegaConf.create(confine(to_plain(cfg), folder, own=own, here=here, typed=typed, told=told))
    check(cfg, is_resumed=True, typed=new)
    for line in told:
        echo(line, error=True)
    return cfg


def refuse_empty(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for a path that is empty, as an unset variable of a shell leaves it: it would be the current folder."""
    for key, value in flat(config).items():
        if value != "" or key.partition(".")[0] in ("logger", "callbacks") or not is_place(key):
            continue
        what = "a run folder" if key in ("resume", "init_from") else "a path"
        raise ConfigError(f"{key}=: give {what}, or null for none")


def launch(
    cfg: DictConfig,
    run_dir: Path,
    *,
    overrides: Sequence[str] = (),
    choices: Mapping[str, Any] | None = None,
    start: Start | None = None,
    go_on: bool = False,
    parent: Path | None = None,
    typed: Sequence[str] = (),
) -> Result:
    """Check the config, run it in `run_dir`, and leave there how it went, whatever happens.

    Args:
        overrides, choices: what was typed, and the option of each config group, typed or not; for run.json.
        start: how it begins; as a new run by default.
        go_on: the same as `start=Start(resumed=True)`.
        parent: a finished run that this one goes on from.
        typed: those of the overrides that were typed for this run alone: none of a sweep, or of a run that is run again.
    """
    # Of the other runs that this one reads, what its own config names is no surprise.
    with trusting(bool(cfg.get("trust")), targets=targets_of(OmegaConf.to_container(cfg, resolve=False))):
        return _launch(cfg, run_dir, overrides, choices, start or Start(resumed=go_on), parent, typed)


def _launch(
    cfg: DictConfig,
    run_dir: Path,
    overrides: Sequence[str],
    choices: Mapping[str, Any] | None,
    start: Start,
    parent: Path | None,
    typed: Sequence[str],
) -> Result:
    refuse_empty(to_plain(cfg))
    check(cfg, is_resumed=start.resumed, typed=typed)
    _refuse_shares(cfg.data)
    if start.resumed:  # the check of any other run looks at them itself
        check_loggers(to_plain(cfg))
    check_reference(cfg)
    run_dir = run_dir.resolve()
    if cfg.dry_run:
        echo(f"dry run: the config is right; it would run in {shown(run_dir)}")
        return Result({}, run_dir, None)

    check_devices(to_plain(cfg))
    record = _record(cfg, run_dir, overrides, choices, start, parent)
    try:
        with logged(run_dir):
            (run_dir / WORKER_ERROR).unlink(missing_ok=True)
            (run_dir / "metrics.json").unlink(missing_ok=True)
            with own_processes(run_dir, start, cfg.hardware), closed_loggers(run_dir):
                metrics, module = _train(cfg, run_dir, start, record)
            write_json(run_dir / "metrics.json", metrics)
        record.finish("finished")
    except BaseException as error:
        if is_interruption(error):
            record.finish("interrupted")
            raise KeyboardInterrupt(f"interrupted; go on with: calotype resume={shown(run_dir)}") from None
        known = as_user_error(error) or _worker_error(run_dir)
        record.finish("failed", error=str(known or repr(error)))
        if known is None:
            complain(f"the whole traceback is in {shown(run_dir / LOG)}")
            raise
        raise type(known)(f"{known} ({shown(run_dir / LOG)})") from error
    return Result(metrics, run_dir, module)


def _refuse_shares(data: Any) -> None:
    """Raise ConfigError for shares of validation and test that leave nothing to train on, before there is a run folder."""
    from calotype.data.splits import check_shares

    shares = [data.get(f"{side}_fraction") for side in ("val", "test")]
    if all(isinstance(share, int | float) for share in shares):
        try:
            check_shares(*shares)
        except UserError as error:
            raise ConfigError(str(error)) from None


def load(run_dir: str | Path, *, checkpoint: str | None = None, trust: bool = False) -> tuple[DictConfig, Any]:
    """The config and the trained LightningModule of a run, in evaluation mode on the CPU.

    The run folder alone is enough: pretrained weights, which a checkpoint holds as they were trained on, are not asked
    for again.

    Args:
        run_dir: the run folder.
        checkpoint: `best` or `last`; by default what the run's metrics came from.
        trust: its config may name any code, which is executed; without, Calotype's, torch's, Lightning's and plug-ins'.

    Raises:
        ConfigError: its config names what takes trust.
        UserError: no run, no checkpoint, a damaged one, or one of another model.
    """
    from calotype.checkpoint_io import read_checkpoint

    folder = expanded(run_dir)
    with trusting(trust):
        cfg = load_config(folder)
    record = read_record(folder)
    path = checkpoint_path(folder, checkpoint or cfg.test_with)
    if path is None:
        raise UserError(f"{folder}: the run has no checkpoint to use; it was cut off early")

    stored = read_checkpoint(path)
    with directory_of(record):
        check(cfg, is_resumed=True)
        with _pretrained(cfg, folder.resolve(), has_checkpoint=True):
            module = _rebuilt(cfg, stored, folder)
    try:
        module.load_state_dict(stored["state_dict"])
    except RuntimeError as error:
        raise UserError(other_model(path, error)) from None
    return cfg, module.eval()


def _rebuilt(cfg: DictConfig, stored: Mapping[str, Any], folder: Path) -> Any:
    """The task of a run, without its weights.

    Raises:
        UserError: a part cannot be built, which it could when the run was started.
    """
    try:
        module = build_task(cfg, DataSpec(**stored["spec"]))
        module.on_load_checkpoint(stored)
        return module
    except Exception as error:
        cause = as_user_error(error) or error.__cause__ or error
        told = " ".join(f"{type(cause).__name__}: {cause}".split()).removeprefix("UserError: ")
        raise UserError(f"{folder}: its config builds no task any more ({told[:150]})") from error


def checkpoint_path(run_dir: Path, which: Any) -> Path | None:
    """best.ckpt or last.ckpt, the other where it is missing."""
    for candidate in (name_of(which), "last"):
        path = run_dir / "checkpoints" / f"{candidate}.ckpt"
        if path.exists():
            return path
    return None


def _record(
    cfg: DictConfig,
    run_dir: Path,
    overrides: Sequence[str],
    choices: Mapping[str, Any] | None,
    start: Start,
    parent: Path | None,
) -> RunRecord:
    fields: dict[str, Any] = {
        "task": cfg.task._target_.split(".")[-2],
        "name": cfg.name,
        "overrides": [str(override) for override in overrides],
        "seed": cfg.seed,
        "config_hash": config_hash(cfg),
        "user_code": user_code(to_plain(cfg)),
    }
    if choices is not None:
        fields["choices"] = {k: v for k, v in choices.items() if not k.startswith("hydra/")}
    config = OmegaConf.to_yaml(OmegaConf.create({**to_plain(cfg), "resume": None, "trust": False}))
    if start.resumed and parent is None:
        return RunRecord.go_on(run_dir, config=config, **fields)
    if parent is not None:
        fields["parent"] = str(parent)
    return RunRecord.start(run_dir, config=config, cwd=str(Path.cwd()), **fields)


def _train(cfg: DictConfig, run_dir: Path, start: Start, record: RunRecord | None) -> tuple[dict[str, float | None], Any]:
    """Build, fit and evaluate. Every process of a distributed run comes here; only the first has a record."""
    import torch
    from pytorch_lightning import seed_everything

    from calotype.data.items import Items
    from calotype.data.summary import summary
    from calotype.models.pretrained import downloads_in

    began = time.perf_counter()
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    quiet()
    if cfg.hardware.num_threads is not None:
        torch.set_num_threads(cfg.hardware.num_threads)
    seed_everything(cfg.seed, workers=True, verbose=False)

    with downloads_in(Path(cfg.paths.data_dir)):
        datamodule = build_data(cfg)
        if isinstance(items := getattr(datamodule, "items", None), Items):
            items.load()  # here, so that damaged files are told before a network is made
        data_seconds = time.perf_counter() - began
        if record is not None and (line := summary(datamodule)):
            echo(line)
        reference = _reference(cfg, datamodule, is_main=record is not None)
        training = Training.prepare(cfg, run_dir, start, datamodule, record)
        with _pretrained(cfg, run_dir, has_checkpoint=training.checkpoint is not None):
            module = build_task(cfg, datamodule.spec)
            if reference is not None:
                module.judge = reference
            module.to(memory_format=_layout(cfg))
            training.build(module, start_up_seconds=time.perf_counter() - began - data_seconds)
            training.seconds["data"] = data_seconds
            fit(training)
            return evaluate(training), module


def _layout(cfg: DictConfig) -> Any:
    """The layout of convolutions' weights: torch's LBFGS takes gradients for vectors, which it cannot do with channels_last."""
    import torch

    is_lbfgs = str((cfg.optimizer or {}).get("_target_", "")).endswith(".LBFGS")
    return torch.contiguous_format if is_lbfgs else getattr(torch, name_of(cfg.hardware.memory_format))


def _reference(cfg: DictConfig, datamodule: Any, *, is_main: bool) -> Any:
    """Features of a trained classifier, for metrics of generated images; None where there is nothing to classify."""
    is_named = cfg.task.get("classifier") is not None
    if not is_named or datamodule.dataset.centres is not None or len(datamodule.dataset.class_names) < 2:
        return None
    from pytorch_lightning import seed_everything

    from calotype.tasks.judge import Judge

    folder = reference_folder(cfg, launch, is_main=is_main)
    judge = Judge(load(folder)[1], datamodule.spec)
    seed_everything(cfg.seed, workers=True, verbose=False)  # whether or not it was trained just now
    return judge


def _pretrained(cfg: DictConfig, run_dir: Path, *, has_checkpoint: bool) -> Any:
    """Where networks get pretrained weights from.

    A task that leaves frozen networks out of its checkpoints keeps them in the run folder once; for any other one the
    checkpoint is enough.
    """
    import contextlib

    from calotype.check import locate
    from calotype.models import pretrained

    if getattr(locate(cfg.task._target_, "task"), "leaves_out", ()):
        return pretrained.kept_in(run_dir / "checkpoints" / "pretrained")
    return pretrained.from_checkpoint() if has_checkpoint else contextlib.nullcontext()


def _is_trust_typed(overrides: Sequence[str]) -> bool:
    """The last `trust=` of overrides that go on with a run, whose config is read before they are composed with it."""
    typed = [o.partition("=")[2].lower() for o in overrides if o.startswith("trust=")]
    if typed and typed[-1] not in ("true", "false"):
        raise ConfigError(f"trust={typed[-1]}: must be true or false")
    return bool(typed) and typed[-1] == "true"


def _new_overrides(overrides: Sequence[str], record: Mapping[str, Any]) -> list[str]:
    known = in_force(record)
    return [o for o in overrides if o not in known and not o.startswith(("hydra.", "dry_run=", "trust="))]


def _new_folder(cfg: DictConfig, record: Mapping[str, Any], overrides: Sequence[str]) -> Path:
    """As typed, or where a new run of this kind would lie."""
    for override in overrides:
        if override.startswith("hydra.run.dir="):
            return expanded(value_of(override)).resolve()
    task = (record.get("choices") or {}).get("task") or record["task"]
    if not is_name(str(task)):
        raise UserError(f"run.json: damaged (task {task})")
    now = f"{datetime.now():%Y-%m-%d_%H-%M-%S_%f}-{config_hash(cfg)}"
    return (Path(cfg.paths.output_dir) / str(task) / str(cfg.name) / now).resolve()


def _worker_error(run_dir: Path) -> UserError | None:
    """What went wrong in another process of the run, whose end this one saw as a lost connection."""
    path = run_dir / WORKER_ERROR
    return UserError(path.read_text()) if path.is_file() else None


def _worker(run_dir: Path, start: Start) -> None:
    """What a further process of a distributed run does."""
    try:
        with logged(run_dir), trusting():  # the first process has looked at all that is read
            _train(load_config(run_dir), run_dir, start, None)
    except BaseException as error:
        known = as_user_error(error)
        write_text(run_dir / WORKER_ERROR, str(known or repr(error)))
        # The first process fails as well, of the same cause or because this one is gone, and tells. Where it waits in a
        # collective for ever, Lightning kills it: then the last word is here.
        for _ in range(30):
            if read_record(run_dir).get("status") != "running":
                raise SystemExit(1) from None
            time.sleep(0.1)
        RunRecord.note_failure(run_dir, str(known or repr(error)))
        complain(f"{known or repr(error)} ({shown(run_dir / LOG)})")
        raise SystemExit(1) from None


if __name__ == "__main__":
    _worker(Path(sys.argv[1]), Start.from_plain(json.loads(sys.argv[2])))

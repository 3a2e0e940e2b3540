"""One run from config to run folder: seed, build, fit, test, write."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from calotype.check import ConfigError, check, check_root
from calotype.hardware import describe, own_processes
from calotype.run_folder import RunRecord, finite, shown, write_json, write_text
from calotype.schema import conf_dir, config_hash, to_plain
from calotype.trainer import make_trainer, name_of, quiet
from calotype.types import UserError
from calotype.user_errors import as_user_error, other_model


@dataclass(frozen=True)
class Result:
    """What a run gave: final figures, its folder, the trained LightningModule (None after a dry run)."""

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
    resumed = [value for key, _, value in (o.partition("=") for o in overrides) if key == "resume" and value not in ("", "null")]
    if resumed:
        return resume(Path(resumed[-1]), [o for o in overrides if not o.startswith("resume=")])
    cfg = _compose(Path(config_dir) if config_dir else conf_dir(), "config", overrides, hydra=True)
    check_root(cfg)
    return launch(cfg, Path(cfg.hydra.run.dir), overrides=overrides, choices=cfg.hydra.runtime.choices)


def resume(folder: Path, overrides: Sequence[str] = ()) -> Result:
    """Go on with the run in `folder` from its last checkpoint, or from the start where it has none."""
    return launch(load_config(folder, overrides), folder, overrides=overrides, go_on=True)


def load_config(folder: Path, overrides: Sequence[str] = ()) -> DictConfig:
    """The config that the run in `folder` was started with.

    Raises:
        ConfigError: it is no run folder, or its config is damaged.
    """
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{folder}: not a run folder (it has no config.yaml)")
    cfg = _compose(folder, "config", overrides)
    if cfg.get("task") is None:
        raise ConfigError(f"{folder / 'config.yaml'}: damaged (it has no task)")
    return cfg


def launch(
    cfg: DictConfig, run_dir: Path, *, overrides: Sequence[str] = (), choices: Mapping[str, Any] | None = None, go_on: bool = False
) -> Result:
    """Check the config, run it in `run_dir`, and leave there how it went, whatever happens.

    Args:
        overrides, choices: what was typed, and the option of each config group, typed or not; for run.json.
    """
    check(cfg)
    run_dir = run_dir.resolve()
    if cfg.dry_run:
        print(f"dry run: the config is right; it would run in {shown(run_dir)}", flush=True)
        return Result({}, run_dir, None)
    fields = {
        "task": cfg.task._target_.split(".")[-2],
        "name": cfg.name,
        "overrides": list(overrides),
        "seed": cfg.seed,
        "config_hash": config_hash(cfg),
    }
    if choices is not None:
        fields["choices"] = {group: option for group, option in choices.items() if not group.startswith("hydra/")}
    record = RunRecord.go_on(run_dir, **fields) if go_on else RunRecord.start(run_dir, **fields)
    try:
        write_text(run_dir / "config.yaml", OmegaConf.to_yaml(OmegaConf.create({**to_plain(cfg), "resume": None})))
        (run_dir / "metrics.json").unlink(missing_ok=True)
        with own_processes(run_dir, go_on):
            metrics, module = _train(cfg, run_dir, go_on, record)
        write_json(run_dir / "metrics.json", metrics)
        record.finish("finished")
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the one into the other
        record.finish("interrupted")
        raise KeyboardInterrupt(f"interrupted; go on with: calotype resume={shown(run_dir)}") from None
    except BaseException as error:
        told = as_user_error(error)
        record.finish("failed", error=str(told or repr(error)))
        if told is not None and told is not error:
            raise told from error
        raise
    return Result(metrics, run_dir, module)


def load(run_dir: str | Path, *, checkpoint: str | None = None) -> tuple[DictConfig, Any]:
    """The config and the trained LightningModule of a run, in evaluation mode on the CPU.

    Args:
        run_dir: the run folder.
        checkpoint: `best` or `last`; by default what the run's figures came from.

    Raises:
        UserError: no run, no checkpoint, or one of another model.
    """
    import torch

    from calotype.types import DataSpec

    folder = Path(run_dir)
    cfg = load_config(folder)
    path = _checkpoint(folder, checkpoint or cfg.test_with)
    if path is None:
        raise UserError(f"{folder}: the run has no checkpoint to use; it was cut off early")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path}: not a checkpoint that can be read ({type(error).__name__})") from None
    module = instantiate(cfg.task, spec=DataSpec(**stored["spec"]))
    try:
        module.load_state_dict(stored["state_dict"])
    except RuntimeError as error:
        raise UserError(other_model(path, error)) from None
    return cfg, module.eval()


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """What the command line composes of them."""
    return _compose(conf_dir(), "config", overrides)


def _compose(folder: Path, name: str, overrides: Sequence[str], *, hydra: bool = False) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
        return compose(name, list(overrides), return_hydra_config=hydra)


def _judge(cfg: DictConfig, datamodule: Any) -> Any:
    """Whose features judge what is generated: the classifier that is named, or one trained on the same data, which is kept; or nobody."""
    named = cfg.task.get("classifier")
    if named is None or datamodule.dataset.centres is not None or len(datamodule.dataset.class_names) < 2:
        return None
    from pytorch_lightning import seed_everything

    from calotype.tasks.judge import Judge

    folder = Path(named)
    if named == "auto":
        chosen = _compose(conf_dir(), "config", ["task=classification", "name=judge", "logger=none", "trainer.max_epochs=10"])
        chosen.dataset, chosen.paths = cfg.dataset, cfg.paths
        # Its own seed and split: runs of all seeds are judged by one classifier, or their figures could not be compared.
        for key in ("preprocess", "classes", "largest_classes", "positive"):
            chosen.data[key] = cfg.data.get(key)
        folder = Path(cfg.paths.output_dir) / "judges" / config_hash(chosen)
        chosen.hardware = cfg.hardware  # which does not make it another judge
        if not (folder / "metrics.json").is_file():
            print(f"training the classifier that is to judge, once, in {shown(folder)}", flush=True)
            launch(chosen, folder)
    elif load_config(folder).task._target_.split(".")[-2] != "classification":
        raise UserError(f"task.classifier={named}: not a run of task=classification")
    judge = Judge(load(folder)[1], datamodule.spec)
    seed_everything(cfg.seed, workers=True, verbose=False)  # whether or not it was trained just now
    return judge


def _train(cfg: DictConfig, run_dir: Path, go_on: bool, record: RunRecord | None) -> tuple[dict[str, float | None], Any]:
    """Build and fit and test; every process of a distributed run comes through here, only the first has a record."""
    import torch
    from pytorch_lightning import seed_everything

    from calotype.data.fingerprint import data_hash

    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    quiet()
    if cfg.hardware.num_threads is not None:
        torch.set_num_threads(cfg.hardware.num_threads)
    seed_everything(cfg.seed, workers=True, verbose=False)
    datamodule = instantiate(cfg.data)
    judge = _judge(cfg, datamodule)
    module = instantiate(cfg.task, spec=datamodule.spec)
    if judge is not None:
        module.judge = judge
    module.to(memory_format=getattr(torch, name_of(cfg.hardware.memory_format)))
    manifest = getattr(datamodule, "split_manifest", None)
    trainer = make_trainer(cfg, run_dir, module, has_val=manifest is None or bool(manifest["sizes"]["val"]))
    if record is not None:
        if manifest is not None:
            write_json(run_dir / "split.json", manifest)
        source = getattr(datamodule, "dataset", None)  # where there is none, the split's hash is that of the pixels
        record.update(split_hash=manifest and manifest["hash"], data_hash=source and data_hash(source), hardware=describe(trainer))
        trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
        what = (cfg.model or cfg.task)._target_.rpartition(".")[2]
        print(f"{what}: {trained:,} trained parameters on {record.fields['hardware']['device']}", flush=True)
    last = _checkpoint(run_dir, "last") if go_on else None
    if last is not None and record is not None:
        print(f"going on from {shown(last)}", flush=True)
    trainer.fit(module, datamodule, ckpt_path=None if last is None else str(last), weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if _checkpoint(run_dir, "last") is None:
        trainer.save_checkpoint(run_dir / "checkpoints" / "last.ckpt")  # ModelCheckpoint leaves out a model without steps
    if record is not None and getattr(module, "alarms", None):
        record.update(alarms=module.alarms)
    trainer.strategy.barrier()
    metrics: dict[str, float] = {}
    chosen = _checkpoint(run_dir, cfg.test_with)
    path = None if chosen is None else str(chosen)
    sizes = {"val": 1, "test": 1} if manifest is None else manifest["sizes"]
    for side, evaluate in (("val", trainer.validate), ("test", trainer.test)):
        if sizes[side]:
            (figures,) = evaluate(module, datamodule=datamodule, ckpt_path=path, weights_only=True, verbose=False) or [{}]
            metrics |= figures
            path = None  # it is loaded; what validation fits beside the weights (a threshold) is what the test is to use
    return finite(metrics), module


def _checkpoint(run_dir: Path, which: Any) -> Path | None:
    """best.ckpt or last.ckpt, the other where it is missing."""
    for candidate in (name_of(which), "last"):
        path = run_dir / "checkpoints" / f"{candidate}.ckpt"
        if path.exists():
            return path
    return None


def _worker(run_dir: Path, go_on: bool) -> None:
    """What a further process of a distributed run does."""
    _train(load_config(run_dir), run_dir, go_on, None)


if __name__ == "__main__":
    _worker(Path(sys.argv[1]), sys.argv[2] == "resume")

"""Lightning's Trainer, as the config asks for it."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from calotype.building import build
from calotype.hardware import precision, strategy
from calotype.loggers import make_loggers
from calotype.own_gpu import devices
from calotype.resume import Start
from calotype.schema import AUTO, to_plain
from calotype.types import UserError

# Of a run without one, why a rule cannot watch it.
NO_VALIDATION = "there is no validation: see data.val_fraction and trainer.limit_val_batches"


def make_trainer(
    cfg: DictConfig,
    run_dir: Path,
    module: Any,
    *,
    has_val: bool,
    start: Start,
    unmeasured: Mapping[str, str] | None = None,
    purge_from: int | None = None,
) -> Any:
    """With the callbacks and loggers of the run; those that watch validation only where there is some.

    Args:
        start: with what a resumed run changes of the optimizer.
        unmeasured: metrics that may be watched, but that this run does not measure, each with the reason.
        purge_from: the batch from which a resumed run logs again; TensorBoard forgets what it has of it.

    Raises:
        UserError: the hardware can not do what is asked, or a rule watches a validation that is not there.
    """
    from lightning_fabric.utilities.exceptions import MisconfigurationException
    from pytorch_lightning import Trainer
    from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar

    from calotype.callbacks.divergence import Divergence
    from calotype.callbacks.metrics_csv import MetricsCsv
    from calotype.callbacks.optimizer_changes import OptimizerChanges
    from calotype.callbacks.plain_progress import PlainProgress
    from calotype.callbacks.plateau import Plateau, is_plateau
    from calotype.callbacks.run_state import RunState
    from calotype.callbacks.same_batches import SameBatches
    from calotype.checkpoint_io import AtomicCheckpointIO
    from calotype.tasks.schedule import ByHand, own_monitor

    metrics_csv = MetricsCsv(run_dir / "metrics.csv")
    callbacks: list[Any] = [RunState(metrics_csv), Divergence()]
    if start.optimizer_changes:
        callbacks.append(OptimizerChanges(start.optimizer_changes))
    for name, node in (to_plain(cfg)["callbacks"] or {}).items():
        callback = build(_watching(node, module), f"callbacks.{name}")
        _check_measured(f"callbacks.{name}.monitor", getattr(callback, "monitor", None), unmeasured or {})
        watches_val = str(getattr(callback, "monitor", "")).startswith("val/")
        if isinstance(callback, ModelCheckpoint):
            callback.dirpath = str(run_dir / "checkpoints")
            if watches_val and not has_val:
                continue  # the last is the best that is known
        elif isinstance(callback, EarlyStopping) and watches_val and not has_val:
            raise UserError(f"callbacks.early_stopping watches {callback.monitor}, and {NO_VALIDATION}")
        callbacks.append(callback)
    if is_plateau(getattr(module, "scheduler", None)):
        monitor, _ = own_monitor(module)
        _check_measured("scheduler watches the task's own metric", monitor, unmeasured or {})
        if monitor.startswith("val/") and not has_val:
            raise UserError(f"scheduler: ReduceLROnPlateau watches {monitor}, and {NO_VALIDATION}")
        callbacks.append(Plateau(monitor))
    callbacks.append(RichProgressBar() if sys.stdout.isatty() else PlainProgress())
    if trial := os.environ.get("CALOTYPE_TRIAL"):  # of a search, see hydra_plugins.calotype_search
        from calotype.callbacks.pruning import Prune

        callbacks.append(Prune(**json.loads(trial)))
    loggers = [metrics_csv, *make_loggers(to_plain(cfg), run_dir, purge_from=purge_from)]
    hardware, settings = cfg.hardware, to_plain(cfg)["trainer"]
    if batches := int(settings.pop("fast_dev_run")):  # Lightning's leaves out the checkpoints, which the evaluation needs
        limits = ("limit_train_batches", "limit_val_batches", "limit_test_batches")
        settings |= {"max_epochs": 1, **dict.fromkeys(limits, batches)}
    if same := settings.pop("overfit_batches"):
        settings |= {"limit_train_batches": same, "limit_val_batches": same}
        callbacks.append(SameBatches())
    if not module.automatic_optimization:  # Lightning's Trainer refuses these, and the task does them itself
        by_hand = ByHand(
            settings.pop("gradient_clip_val"), settings.pop("gradient_clip_algorithm"), settings.pop("accumulate_grad_batches")
        )
        module.by_hand = by_hand
    try:
        return Trainer(
            accelerator=hardware.accelerator,
            devices=devices(hardware.devices, hardware.accelerator),
            num_nodes=hardware.num_nodes,
            strategy=strategy(hardware, module),
            precision=precision(hardware.precision, hardware.accelerator),
            sync_batchnorm=hardware.sync_batchnorm,
            deterministic=hardware.deterministic,
            benchmark=not hardware.deterministic,
            logger=loggers,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            default_root_dir=run_dir,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # the DataModules share out by themselves, and without doubles in evaluation
            enable_progress_bar=sys.stdout.isatty(),
            enable_model_summary=False,
            **{**settings, "profiler": _profiler(cfg.trainer.profiler, run_dir)},
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise UserError(f"hardware or trainer: {' '.join(str(error).split())}") from None


def _check_measured(where: str, monitor: str | None, unmeasured: Mapping[str, str]) -> None:
    """Raise UserError where a rule watches what the run does not measure."""
    if monitor is not None and monitor in unmeasured:
        raise UserError(f"{where}={monitor}: this run does not measure it, since {unmeasured[monitor]}; watch another metric, or none")


def _watching(node: dict[str, Any], module: Any) -> dict[str, Any]:
    """The node of a callback with the task's own metric, where its monitor is `auto`."""
    from calotype.tasks.schedule import own_monitor

    if node.get("monitor") != AUTO:
        return node
    monitor, mode = own_monitor(module)
    return {**node, "monitor": monitor, "mode": mode}


def _profiler(kind: Any, run_dir: Path) -> Any:
    """One that writes into the run folder; by name Lightning makes one that writes to a log which is kept quiet."""
    if kind is None:
        return None
    from pytorch_lightning.profilers import AdvancedProfiler, SimpleProfiler

    made = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}[name_of(kind)]
    return made(dirpath=run_dir, filename="profile")


def name_of(value: Any) -> str:
    """Of an option that is an enumeration by the schema, and text in a config that was read back."""
    return str(getattr(value, "name", value))


def quiet() -> None:
    """Lightning's advice that does not hold here."""
    for message in (
        ".*does not have many workers.*",  # batches come from memory
        ".*smaller than the logging interval.*",  # small sets have few batches; epochs are logged all the same
        ".*configure_optimizers.*returned `None`.*",  # a model that is fitted, not trained by gradients
        ".*module.* in eval mode at the start of training.*",  # frozen features are meant to be
        ".*Total length of `.*` across ranks is zero.*",  # a split without a validation side
        ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",  # Lightning's own use of torch
    ):
        warnings.filterwarnings("ignore", message=message)

"""The two phases of a run: fitting, which a checkpoint can take up again, and evaluation, which depends on it alone."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from calotype.callbacks.run_state import KEY, RunState, State
from calotype.checkpoint_io import first_good_checkpoint, read_checkpoint
from calotype.console import complain, echo
from calotype.grouped_convolutions import keep_in_single_precision
from calotype.hardware import describe
from calotype.init_from import take_weights
from calotype.places import expanded
from calotype.resume import Start
from calotype.run_folder import INPUTS, RunRecord, finite, shown, write_json
from calotype.trainer import make_trainer, name_of
from calotype.types import UserError


@dataclass
class Training:
    """What both phases need.

    Attributes:
        checkpoint: what a resumed run goes on from, None where it begins.
        state: the checkpoint's note on how far the run was.
        record: run.json, in the first process of a run; None in the others.
        seconds: of each phase, for run.json.
    """

    cfg: DictConfig
    run_dir: Path
    start: Start
    datamodule: Any
    record: RunRecord | None
    checkpoint: Path | None = None
    state: State | None = None
    module: Any = None
    trainer: Any = None
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def prepare(cls, cfg: DictConfig, run_dir: Path, start: Start, datamodule: Any, record: RunRecord | None) -> Training:
        """Find the checkpoint to go on from, and see that the data is what the run was trained on.

        Raises:
            UserError: the data differs, or no checkpoint can be used.
        """
        training = cls(cfg, run_dir, start, datamodule, record)
        if record is not None:
            training._note_data()
        if start.resumed:
            folder = run_dir / "checkpoints"
            training.checkpoint, faults = first_good_checkpoint(folder, ("last", "best"))
            if record is not None:
                _replace_damaged(training.checkpoint, faults, folder / "last.ckpt")
        if training.checkpoint is not None:
            training.state = read_checkpoint(training.checkpoint)[KEY]
        if record is not None and start.changes:
            step = 0 if training.state is None else training.state["step"]
            changes = [{**one, "step": step} for one in start.to_plain()["changes"]]
            record.update(changes=[*record.fields.get("changes", []), *changes])
        return training

    @property
    def sizes(self) -> Mapping[str, int]:
        manifest = getattr(self.datamodule, "split_manifest", None)
        return {"train": 1, "val": 1, "test": 1} if manifest is None else manifest["sizes"]

    @property
    def is_over(self) -> bool:
        """Whether the checkpoint holds a training that had come to its end."""
        if self.state is None:
            return False
        if self.state["stopped"] and not self.start.goes_further:
            return True
        max_epochs, max_steps = self.cfg.trainer.max_epochs, self.cfg.trainer.max_steps
        if max_epochs not in (None, -1) and self.state["epochs"] >= max_epochs:
            return True
        return max_steps not in (None, -1) and self.state["step"] >= max_steps

    def build(self, module: Any, *, start_up_seconds: float) -> None:
        """Make the Trainer for the module."""
        began = time.perf_counter()
        self.module = module
        if self.cfg.init_from is not None and self.checkpoint is None:
            taken = take_weights(module, expanded(self.cfg.init_from), which=name_of(self.cfg.test_with))
            if self.record is not None:
                self.record.update(init_from=taken)
        purge_from = None if self.state is None else self.state["batches"]
        has_val = bool(self.sizes["val"]) and self.cfg.trainer.limit_val_batches != 0
        unmeasured = module.unmeasured(self.datamodule) if hasattr(module, "unmeasured") else {}
        self.trainer = make_trainer(
            self.cfg, self.run_dir, module, has_val=has_val, purge_from=purge_from, start=self.start, unmeasured=unmeasured
        )
        if self.trainer.strategy.root_device.type == "cpu" and str(self.trainer.precision).startswith("bf16"):
            keep_in_single_precision(module)
        self.seconds["start_up"] = start_up_seconds + time.perf_counter() - began

        if self.record is not None:
            self.record.update(hardware=describe(self.trainer))
            trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
            part = (self.cfg.model or self.cfg.task)._target_.rpartition(".")[2]
            device = self.record.fields["hardware"]["device"]
            echo(f"{part}: {trained:,} trained parameters on {device}")

    def callback(self, kind: type) -> Any:
        return next(one for one in self.trainer.callbacks if isinstance(one, kind))

    def _note_data(self) -> None:
        """Write the split and the data's hash, which a resumed run must find unchanged."""
        from calotype.data.fingerprint import data_hash

        assert self.record is not None
        manifest = getattr(self.datamodule, "split_manifest", None)
        source = getattr(self.datamodule, "dataset", None)
        now = {
            "split_hash": manifest and manifest["hash"],
            "data_hash": source and data_hash(source),  # without a source the split's hash is that of the pixels
        }
        # The split's hash has the folder's name in it, which may be another one now.
        for key in ["data_hash"] if now["data_hash"] else ["split_hash"]:
            before, value = self.record.fields.get(key), now[key]
            if before is not None and before != value:
                raise UserError(
                    f"the data is not what this run was trained on ({key} {before[:8]} before, "
                    f"{str(value)[:8]} now): give its place by dataset.root or paths.data_dir"
                )
        if manifest is not None:
            write_json(self.run_dir / "split.json", manifest)
        self.record.update(**now)


def fit(training: Training) -> None:
    """Train to the end, or from the checkpoint on; a training that had ended is left alone."""
    from calotype.callbacks.loss_curves import LossCurves
    from calotype.callbacks.metrics_csv import MetricsCsv

    trainer, module, run_dir = training.trainer, training.module, training.run_dir
    run_state: RunState = training.callback(RunState)

    if training.is_over:
        assert training.state is not None
        assert training.checkpoint is not None
        run_state.take_up(training.state, module)
        _restore_progress(trainer, training.checkpoint)
        if training.record is not None:
            run_state.csv.restore(training.state)
            for callback in trainer.callbacks:
                if isinstance(callback, LossCurves):
                    callback.draw(run_dir)
    else:
        if training.checkpoint is None and training.record is not None:
            next(one for one in trainer.loggers if isinstance(one, MetricsCsv)).start_over()
        path = None if training.checkpoint is None else str(training.checkpoint)
        trainer.fit(module, training.datamodule, ckpt_path=path, weights_only=True)
        if trainer.interrupted:
            raise KeyboardInterrupt
        last = run_dir / "checkpoints" / "last.ckpt"
        if not trainer.strategy.broadcast(last.exists()):
            trainer.save_checkpoint(last)  # ModelCheckpoint leaves out a model without steps
        trainer.strategy.barrier()
        training.state = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")[KEY]
    if training.record is not None:
        _note_fit(training, run_state)
        _note_inputs(training)


def _restore_progress(trainer: Any, checkpoint: Path) -> None:
    """Let the trainer count epochs and steps as it did at the end of the training in the checkpoint."""
    trainer.fit_loop.load_state_dict(read_checkpoint(checkpoint)["loops"]["fit_loop"])
    epochs = trainer.fit_loop.epoch_progress.current
    epochs.completed = epochs.processed  # a checkpoint is written before an epoch counts as completed


def evaluate(training: Training) -> dict[str, float | None]:
    """Metrics of the validation and test data, of the checkpoint that is to be used.

    What comes out depends on that checkpoint and the seed alone, so that a run which was cut off here gives the same.
    """
    from pytorch_lightning import seed_everything

    trainer, module = training.trainer, training.module
    seed_everything(training.cfg.seed, workers=True, verbose=False)

    folder = training.run_dir / "checkpoints"
    chosen = folder / f"{name_of(training.cfg.test_with)}.ckpt"
    path: str | None = str(chosen if chosen.exists() else folder / "last.ckpt")
    metrics: dict[str, float] = {}
    for split, run in (("val", trainer.validate), ("test", trainer.test)):
        if not training.sizes[split]:
            continue
        (found,) = run(module, datamodule=training.datamodule, ckpt_path=path, weights_only=True, verbose=False) or [{}]
        metrics |= found
        path = None  # it is loaded; what validation fits (a threshold) is what the test is to use

    if training.record is not None:
        _note_evaluation(training)
        for told in _untrained(training):
            complain(told)
    return finite(metrics)


def _note_fit(training: Training, run_state: RunState) -> None:
    assert training.record is not None
    assert training.state is not None
    state = training.state
    validation = round(run_state.validation_seconds, 3)
    trained = max(run_state.seconds() - run_state.validation_seconds, 1e-9)
    training.seconds |= {"fit": run_state.seconds(), "validation": validation}
    training.record.update(
        ended_by=state["stopped"] or _limit(training, state),
        epochs=state["epochs"],
        steps=state["step"],
        images_per_second=round(run_state.images / trained, 1) if run_state.images else None,
        seconds_per_step=round(trained / state["batches"], 6) if state["batches"] else None,
    )


def _note_inputs(training: Training) -> None:
    """Write what the training images are like, by which `calotype-apply` knows other ones."""
    from calotype.data.likeness import likeness_of

    path = training.run_dir / INPUTS
    likeness = None if path.exists() else likeness_of(training.datamodule)
    if likeness is not None:
        write_json(path, likeness.to_plain())


def _note_evaluation(training: Training) -> None:
    assert training.record is not None
    run_state: RunState = training.callback(RunState)
    seconds = training.seconds | run_state.evaluation_seconds
    alarms = [*getattr(training.module, "alarms", ()), *_untrained(training)]
    training.record.update(
        seconds={name: round(value, 3) for name, value in seconds.items()},
        **({"alarms": alarms} if alarms else {}),
    )


def _untrained(training: Training) -> list[str]:
    """An alarm of a run that trains by steps, and made none."""
    assert training.state is not None
    module = training.module
    is_fitted = hasattr(getattr(module, "model", None), "fit")
    if training.state["batches"] or is_fitted or not any(p.requires_grad for p in module.parameters()):
        return []
    return ["nothing was trained: no step was made; see trainer.max_epochs, max_steps, max_time and limit_train_batches"]


def _limit(training: Training, state: State) -> str:
    """Which limit of the trainer ended a training that nothing else did."""
    max_steps = training.cfg.trainer.max_steps
    return "max_steps" if max_steps not in (None, -1) and state["step"] >= max_steps else "max_epochs"


def _replace_damaged(checkpoint: Path | None, faults: list[str], last: Path) -> None:
    """Say what a resumed run goes on from; a good checkpoint takes the place of a damaged one, which is kept."""
    for fault in faults:
        echo(f"{fault}; it is kept as {last.name}.damaged")
    if faults and checkpoint is not None:
        os.replace(last, f"{last}.damaged")
        shutil.copy2(checkpoint, last)
    if checkpoint is None:
        echo("no checkpoint yet: starting over")
    else:
        echo(f"going on from {shown(checkpoint)}")

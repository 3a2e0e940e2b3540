"""ReduceLROnPlateau follows each task's own metric, under automatic and manual optimization, and over a resumed run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import skimage.data
from PIL import Image
from torch.optim.lr_scheduler import ReduceLROnPlateau

import calotype
from calotype.callbacks.run_state import RunState
from calotype.check import ConfigError, check
from calotype.compose import compose_config
from calotype.types import UserError
from tasks.test_every_task import TASKS
from tasks.test_trainer_options import IN_BATCHES

# What each task is judged by, and which way is better.
WATCHED = {
    "classification": ("val/loss", "min"),
    "siamese": ("val/eer", "min"),
    "facenet": ("val/eer", "min"),
    "fast_style": ("train/loss", "min"),
    "gan": ("val/modes", "max"),
    "cgan": ("val/coverage", "max"),
    "translation": ("val/psnr", "max"),
    "cyclegan": ("val/psnr", "max"),
    "pixelcnn": ("val/nll_nats", "min"),
}
# Nothing is an improvement.
PLATEAU = ["scheduler=plateau", "scheduler.patience=0", "scheduler.threshold=1e9", "scheduler.threshold_mode=abs", "scheduler.factor=0.5"]


def command(task: str, folder: Path, *more: str) -> list[str]:
    options = [o for o in TASKS[task] if not o.startswith(("callbacks.", "trainer.max_epochs", "task.classifier"))]
    plain = ["~callbacks.pictures", "~callbacks.loss_curves", f"paths.output_dir={folder.parent}/outputs"]
    return [f"task={task}", *options, *plain, *more, f"hydra.run.dir={folder}"]


@pytest.fixture(autouse=True)
def photo() -> None:
    Image.fromarray(skimage.data.astronaut()).resize((64, 64)).save("photo.png")


@pytest.fixture
def stepped(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """(mode, value) of each step of a scheduler."""
    found: list[tuple[str, float]] = []
    step = ReduceLROnPlateau.step

    def note(self: ReduceLROnPlateau, metrics: Any, epoch: Any = None) -> None:
        found.append((self.mode, float(metrics)))
        step(self, metrics)

    monkeypatch.setattr(ReduceLROnPlateau, "step", note)
    return found


@pytest.mark.parametrize("task", [task for task in IN_BATCHES if task != "cgan"])  # whose figures are those of gan
def test_each_task_gives_it_its_own_metric(task: str, tmp_path: Path, stepped: list[tuple[str, float]]) -> None:
    result = calotype.run(command(task, tmp_path / "run", *PLATEAU, "trainer.max_epochs=3", "trainer.log_every_n_steps=1"))
    name, mode = WATCHED[task]
    rows = [line.split(",") for line in (tmp_path / "run" / "metrics.csv").read_text().splitlines()[1:]]
    logged = [float(row[3]) for row in rows if row[2] == name]
    logged = logged[:3] if name.startswith("val/") else logged[1::2]  # the last of two batches
    optimizers = result.module.trainer.optimizers
    assert stepped == [(mode, pytest.approx(value)) for value in logged for _ in optimizers]
    # The first value is the best so far, the other two are no improvement.
    for optimizer, config in zip(optimizers, result.module.trainer.lr_scheduler_configs, strict=True):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(config.scheduler._last_lr[0])
        assert config.scheduler.num_bad_epochs == 0
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.25 * optimizer.defaults["lr"])


@pytest.mark.parametrize("task", ["classification", "gan"])
def test_resumed_to_the_last_bit(task: str, tmp_path: Path) -> None:
    """Lightning steps it after the checkpoint of the epoch is written: a resumed run would lack a step."""
    more = [*PLATEAU, "trainer.max_epochs=4"]
    whole = calotype.run(command(task, tmp_path / "whole", *more))
    killed = tmp_path / "killed"

    def die(self: RunState, trainer: Any, module: Any, *_: Any) -> None:
        if trainer.current_epoch == 2:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunState, "on_train_batch_end", die)
        with pytest.raises(Killed):
            calotype.run(command(task, killed, *more))
    record = json.loads((killed / "run.json").read_text())
    (killed / "run.json").write_text(json.dumps({**record, "status": "running", "pid": 2**30}))
    resumed = calotype.run([f"resume={killed}"])

    assert resumed.metrics == whole.metrics
    states = [[one.scheduler.state_dict() for one in result.module.trainer.lr_scheduler_configs] for result in (whole, resumed)]
    assert states[0] == states[1]
    assert states[0][0]["_last_lr"][0] == pytest.approx(0.125 * whole.module.trainer.optimizers[0].defaults["lr"])
    for first, second in zip(whole.module.parameters(), resumed.module.parameters(), strict=True):
        assert first.equal(second)


class Killed(BaseException):
    """Stands for SIGKILL."""


def test_by_a_typed_target_and_only_where_there_is_a_validation(tmp_path: Path, stepped: list[tuple[str, float]]) -> None:
    typed = ["scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau", "+scheduler.patience=0", "trainer.max_epochs=4"]
    typed = ["scheduler=step", "~scheduler.step_size", "~scheduler.gamma", *typed]
    calotype.run(command("classification", tmp_path / "a", *typed, "trainer.check_val_every_n_epoch=2"))
    assert len(stepped) == 2  # not by what an earlier validation measured
    for i, option in enumerate(("data.val_fraction=0", "trainer.limit_val_batches=0")):
        with pytest.raises(UserError, match=r"scheduler: ReduceLROnPlateau watches val/loss, and there is no validation"):
            calotype.run(command("classification", tmp_path / f"{i}", *typed, option))


REFUSED = {
    "task=dip scheduler=plateau": "watches a metric, and task=dip has none of its own",
    "task=style_transfer scheduler=plateau": "watches a metric, and task=style_transfer has none",
    "task=visualise scheduler=plateau": "watches a metric, and task=visualise has none",
    "task=efros_leung scheduler=plateau": "scheduler: task=efros_leung takes none",
    "task=efros_leung model=gan/dcgan": "model: task=efros_leung takes none",
    "task=visualise loss=cross_entropy": "loss: task=visualise takes none",
    "model=linear scheduler=plateau": "scheduler: the model is fitted at once",
    "scheduler=plateau +scheduler.mode=max": "scheduler.mode=max: of the metric .* min is better",
    "scheduler=plateau scheduler.factor=1": "scheduler.factor=1: must be",
    "scheduler=plateau scheduler.patience=-1": "scheduler.patience=-1: must be",
}


@pytest.mark.parametrize("command", REFUSED)
def test_what_cannot_follow_a_metric_is_refused(command: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[command]) as error:
        check(compose_config(command.split()))
    assert len(str(error.value)) < 200


def test_schedules_of_epochs_are_stepped_by_epoch_under_manual_optimization(tmp_path: Path) -> None:
    """A step_size of 2 epochs was one of 2 batches."""
    step = ["scheduler=step", "scheduler.step_size=2", "trainer.max_epochs=3"]
    trainer = calotype.run(command("gan", tmp_path / "run", *step)).module.trainer
    for optimizer in trainer.optimizers:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * optimizer.defaults["lr"])

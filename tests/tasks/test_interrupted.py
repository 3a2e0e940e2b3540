"""Every task with its default configuration: interrupted and resumed, run again, diverged."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import calotype
from calotype.callbacks.run_state import RunState
from calotype.rerun import rerun
from calotype.types import UserError
from helpers import Killed, leave_as_killed
from protocols import kill_and_resume
from protocols.kill_and_resume import COMMANDS, differences

# efros_leung trains nothing, and the pictures of visualise are bounded by a sigmoid, however large a step is.
TRAINED = [task for task in COMMANDS if task not in ("efros_leung", "visualise")]


def command(task: str, folder: Path) -> list[str]:
    """The default hardware, but for the cores that other tests take."""
    return [*kill_and_resume.command(task, folder), "hardware.num_threads=1"]


def in_the_second_epoch(self: RunState, trainer: Any, module: Any, *_: Any) -> None:
    if trainer.current_epoch == 1:
        raise Killed


def before_the_pictures(self: RunState, trainer: Any, module: Any) -> None:
    raise Killed


MOMENTS: dict[str, Callable[..., None]] = {
    "on_train_batch_end": in_the_second_epoch,
    "on_test_end": before_the_pictures,
}


@pytest.mark.slow
@pytest.mark.parametrize("task", COMMANDS)
def test_interrupted_twice_and_run_again(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Metrics, metrics.csv and all pictures are the same to the last bit; `tests/protocols` kills processes."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    calotype.run(command(task, whole))
    start = command(task, killed)
    for hook, moment in MOMENTS.items():
        if task == "efros_leung" and hook == "on_train_batch_end":
            continue  # it has nothing to train
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RunState, hook, moment)
            with pytest.raises(Killed):
                calotype.run(start)
        leave_as_killed(killed)
        start = [f"resume={killed}"]

    calotype.run(start)
    assert differences(whole, killed) == []

    capsys.readouterr()
    assert rerun(whole, tmp_path / "again")
    assert "are the same to the last bit" in capsys.readouterr().out
    assert differences(whole, tmp_path / "again") == []


@pytest.mark.slow
@pytest.mark.parametrize("task", TRAINED)
def test_a_training_that_diverges_fails_in_one_line(task: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(UserError) as error:
        calotype.run([*command(task, folder), "optimizer.lr=1e30"])
    assert "\n" not in str(error.value)
    assert "optimizer.lr" in str(error.value)
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "failed"
    assert not (folder / "metrics.json").exists()


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    from calotype.checkpoint_io import read_checkpoint
    from calotype.tasks.facenet import FaceNet

    step = FaceNet.training_step

    def broken(self: Any, *args: Any) -> Any:
        loss = step(self, *args)
        return loss * math.nan if self.current_epoch == 1 else loss

    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FaceNet, "training_step", broken)
        with pytest.raises(UserError, match=r"diverged in epoch 2.*last.ckpt holds the state after epoch 1"):
            calotype.run(command("facenet", folder))
    for name in ("last", "best"):
        stored = read_checkpoint(folder / "checkpoints" / f"{name}.ckpt")
        assert stored["calotype"]["epochs"] == 1
        weights = [value for key, value in stored["state_dict"].items() if key.startswith("model.")]
        assert weights
        assert all(value.isfinite().all() for value in weights)

"""Options of the trainer do in every task what Lightning's documentation says, or are refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch
from PIL import Image
from pytorch_lightning.trainer.states import TrainerFn
from torch.optim.optimizer import register_optimizer_step_post_hook

import calotype
from calotype.callbacks.divergence import Divergence
from calotype.callbacks.run_state import RunState
from calotype.check import ConfigError
from calotype.types import UserError
from helpers import FAST
from tasks.test_every_task import PLAIN, TASKS

IN_BATCHES = ["classification", "siamese", "facenet", "fast_style", "gan", "cgan", "translation", "cyclegan", "pixelcnn"]
FEW = {
    "siamese": ["data.train_pairs=200", "data.batch_size=20"],
    "fast_style": ["data.steps_per_epoch=4"],
    "facenet": ["data.batches_per_epoch=4"],
}


ALL = {**TASKS, "efros_leung": ["callbacks.pictures.size=24", "callbacks.pictures.hole=8", "callbacks.pictures.sample=32", *PLAIN]}
OPTIONS = ["accumulate_grad_batches=2", "gradient_clip_val=1e-3", "gradient_clip_algorithm=value", "val_check_interval=1", "min_steps=3"]
# What each task refuses, since it would not obey it; `tests/test_trainer_keys.py` has the reasons.
OWN_STEPS = {"val_check_interval=1", "min_steps=3"}
REFUSED = {
    "dip": OWN_STEPS, "style_transfer": OWN_STEPS, "visualise": OWN_STEPS, "fast_style": {"val_check_interval=1"},
    "efros_leung": {*OPTIONS},
}  # fmt: skip


def short(task: str, folder: Path, *more: str) -> list[str]:
    """The task's small command, without what shortens epochs, and without pictures."""
    options = [o for o in ALL[task] if not o.startswith(("debug=", "callbacks.", "trainer."))]
    return [f"task={task}", *options, *FEW.get(task, []), "~callbacks.pictures", "~callbacks.loss_curves", *more, f"hydra.run.dir={folder}"]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Any]]:
    """(epoch, what identifies the batch) of every training batch."""
    found: list[tuple[int, Any]] = []

    def note(self: RunState, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        numbers = getattr(batch, "indices", None)
        numbers = getattr(batch, "same", batch[0].shape) if numbers is None else numbers
        found.append((trainer.current_epoch, tuple(numbers.tolist() if isinstance(numbers, torch.Tensor) else numbers)))

    monkeypatch.setattr(RunState, "on_train_batch_end", note)
    return found


@pytest.mark.parametrize("task", IN_BATCHES)
def test_overfit_batches_gives_the_same_ones(task: str, tmp_path: Path, batches: list[tuple[int, Any]]) -> None:
    Image.fromarray(skimage.data.astronaut()).resize((64, 64)).save("photo.png")
    calotype.run(short(task, tmp_path / "run", "trainer.overfit_batches=2", "trainer.max_epochs=2"))
    of_epochs = [[numbers for epoch, numbers in batches if epoch == which] for which in (0, 1)]
    assert len(of_epochs[0]) == 2
    assert of_epochs[0] == of_epochs[1]


def test_without_it_they_differ_and_with_it_validation_has_as_many(tmp_path: Path, batches: list[tuple[int, Any]]) -> None:
    plain = calotype.run(short("classification", tmp_path / "a", "trainer.limit_train_batches=2", "trainer.max_epochs=2"))
    assert len({numbers for _, numbers in batches}) == 4
    few = ["trainer.overfit_batches=1", "data.eval_batch_size=16", "trainer.max_epochs=1"]
    same = calotype.run(short("classification", tmp_path / "b", *few))
    assert (plain.module.trainer.num_val_batches, same.module.trainer.num_val_batches) == ([1], [1])
    assert same.module.trainer.num_test_batches == [23]  # the whole test set


class Counts:
    """Of a run: training batches, steps of each optimizer, validations within training, batches of validation and test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.forget()
        for hook in ("train_batch", "validation", "validation_batch", "test_batch"):
            self._count(hook)

    def forget(self) -> None:
        self.counts: Counter[str] = Counter()
        self.steps: Counter[int] = Counter()

    def _count(self, hook: str) -> None:
        def count(callback: Any, trainer: Any, *_: Any) -> None:
            self.counts[hook if trainer.state.fn == TrainerFn.FITTING or hook.startswith("test") else f"{hook} after"] += 1

        self.monkeypatch.setattr(Divergence, f"on_{hook}_end", count)

    def run(self, options: list[str]) -> Any:
        self.forget()
        handle = register_optimizer_step_post_hook(lambda optimizer, *_: self.steps.update([id(optimizer)]))
        try:
            return calotype.run(options).module
        finally:
            handle.remove()


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    Image.fromarray(skimage.data.astronaut()).resize((64, 64)).save("photo.png")
    return Counts(monkeypatch)


@pytest.mark.parametrize("task", ALL)
def test_each_task_obeys_or_refuses(task: str, tmp_path: Path, counts: Counts) -> None:
    """Two runs of the task: as it is, and with all the options that it takes."""
    few = [] if "min_steps=3" in REFUSED.get(task, ()) else ["trainer.max_epochs=1", "trainer.limit_train_batches=4"]
    before = counts.run(short(task, tmp_path / "before", *few))
    batches, steps, weights = counts.counts["train_batch"], counts.steps, vector(before)
    taken = [f"trainer.{option}" for option in OPTIONS if option not in REFUSED.get(task, ())]
    for option in REFUSED.get(task, ()):
        with pytest.raises(ConfigError, match="does not obey"):
            calotype.run([f"task={task}", *ALL[task], f"trainer.{option}"])
    if task == "efros_leung":
        assert (sum(steps.values()), taken) == (0, [])
        return

    after = counts.run(short(task, tmp_path / "after", *few, *taken))
    assert batches == counts.counts["train_batch"] == 4
    assert sorted(steps.values()) == [4] * len(steps)
    assert sorted(counts.steps.values()) == [2] * len(steps)
    assert not vector(after).equal(weights)
    if "trainer.val_check_interval=1" in taken:
        assert counts.counts["validation"] == 4


@pytest.mark.parametrize("task", ALL)
def test_fast_dev_run_is_so_many_batches_of_each(task: str, tmp_path: Path, counts: Counts) -> None:
    module = counts.run(short(task, tmp_path / "run", "trainer.fast_dev_run=2"))
    found = counts.counts
    assert found["train_batch"] == (module.trainer.num_training_batches if task == "efros_leung" else 2)
    assert found["validation"] <= 1
    assert found["validation_batch"] <= 2
    assert 1 <= found["test_batch"] <= 2
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize("task", [task for task in ALL if "min_steps=3" not in REFUSED.get(task, ())])
def test_min_steps_goes_on_where_something_would_stop(task: str, tmp_path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(callback: Any, trainer: Any, *_: Any) -> None:
        counts.counts["train_batch"] += 1
        trainer.should_stop = True

    monkeypatch.setattr(Divergence, "on_train_batch_end", stop)
    few = ["trainer.max_epochs=3", "trainer.limit_train_batches=2"]
    counts.run(short(task, tmp_path / "a", *few))
    assert counts.counts["train_batch"] == 1
    counts.run(short(task, tmp_path / "b", *few, "trainer.min_steps=3"))
    # Lightning goes on to the end of the first epoch, and counts the steps of all optimizers.
    assert counts.counts["train_batch"] == (3 if len(counts.steps) == 1 else 2)


def vector(module: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters() if p.requires_grad] or [torch.zeros(0)])


def test_an_interval_of_more_batches_than_there_are_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^trainer.val_check_interval=99: more than the 2 training batches of an epoch; give fewer"):
        calotype.run([*FAST, "trainer.val_check_interval=99", f"hydra.run.dir={tmp_path}/run"])


def test_lbfgs_trains_a_network_with_convolutions(tmp_path: Path) -> None:
    """Its vectors cannot be made of gradients that lie in `channels_last`, the default."""
    options = [*short("pixelcnn", tmp_path / "a"), "debug=fast", "optimizer=lbfgs", "hardware.memory_format=channels_last"]
    assert calotype.run(options).metrics["test/bits_per_dim"] > 0

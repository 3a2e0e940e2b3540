"""Options of the trainer do in every task what Lightning's documentation says, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch
from PIL import Image

import calotype
from calotype.callbacks.run_state import RunState
from tasks.test_every_task import TASKS

IN_BATCHES = ["classification", "siamese", "facenet", "fast_style", "gan", "cgan", "translation", "cyclegan", "pixelcnn"]
FEW = {"siamese": ["data.train_pairs=200", "data.batch_size=20"], "fast_style": ["data.steps_per_epoch=4"]}


def short(task: str, folder: Path, *more: str) -> list[str]:
    """The task's small command, without what shortens epochs, and without pictures."""
    options = [o for o in TASKS[task] if not o.startswith(("debug=", "callbacks.", "trainer."))]
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

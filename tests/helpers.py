"""What several test files use and pytest has no fixture for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import calotype
from calotype.cli_report import report_main
from calotype.records import FORMAT, read_json
from calotype.run_folder import write_json
from calotype.seal import FILES, sealed

# Overrides for jobs of less than a second.
FAST = [
    "experiment=classification/digits",
    "trainer.max_epochs=2",
    "model.widths=[4]",
    "hardware=cpu",
    "hardware.num_threads=1",
    "logger=none",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "~callbacks.loss_curves",
    "~callbacks.pictures",
]
REAL_DATA = os.environ.get("CALOTYPE_DATA", "")


def real_data(*parts: str) -> Path:
    """The folder of a real data set, or the test is skipped."""
    path = Path(REAL_DATA, *parts).resolve() if REAL_DATA else None
    if path is None or not path.exists():
        pytest.skip(f"needs real data: no {'/'.join(parts)} in CALOTYPE_DATA={REAL_DATA!r}")
    return path


class ThreeOutputs(nn.Module):
    """A network that pays no heed to how many classes there are."""

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(image_shape[0] * image_shape[1] * image_shape[2], 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1))


def write_run(
    folder: Path,
    seed: int,
    metrics: dict[str, float | None],
    *overrides: str,
    task: str = "facenet",
    status: str = "finished",
    start: str = "2026-01-01T00:00:00",
    **config: Any,
) -> None:
    """A run folder as the runner leaves it, as far as a report looks."""
    folder.mkdir(parents=True)
    record = {
        "format": FORMAT,
        "task": task,
        "seed": seed,
        "status": status,
        "start": start,
        "overrides": [*overrides, f"seed={seed}"],
        "error": None,
    }
    (folder / "run.json").write_text(json.dumps(record))
    whole = {"name": "study", "seed": seed, "paths": {"data_dir": str(folder)}, "data": {"split_seed": seed, "num_workers": seed}, **config}
    whole.setdefault("dataset", {"seed": 0})
    (folder / "config.yaml").write_text(yaml.safe_dump(whole))
    if status == "finished":
        (folder / "metrics.json").write_text(json.dumps(metrics))


def rewrite(folder: Path, **changes: Any) -> None:
    """Change what a run recorded, as if it had ended so: its seal is right for the files as they are now."""
    record = {**read_json(folder / "run.json"), **changes}
    write_json(folder / "run.json", sealed(record, folder) if FILES in record else record)


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the run expects it."""


def leave_as_killed(folder: Path) -> None:
    """Let the record of a run say what that of a killed one does: running, in a process that is there no more."""
    record = read_json(folder / "run.json")
    (folder / "run.json").write_text(json.dumps({**record, "status": "running", "pid": 2**30}))


def run_until(overrides: Sequence[str], folder: Path, owner: type, hook: str, moment: Callable[[Any], bool]) -> None:
    """Run in `folder` until `moment` holds after a method of a class, and leave there what a killed run leaves."""
    whole = getattr(owner, hook)

    def dies(self: Any, *arguments: Any) -> None:
        whole(self, *arguments)
        if moment(self):
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, hook, dies)
        with pytest.raises(Killed):
            calotype.run([*overrides, f"hydra.run.dir={folder}"])
    leave_as_killed(folder)


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that an operation inside it gives: what memory grows with."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        before = {part.untyped_storage()._cdata for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)}
        result = func(*args, **(kwargs or {}))
        for part in tree_leaves(result):
            if isinstance(part, Tensor) and part.untyped_storage()._cdata not in before:  # a view takes no memory
                self.numel = max(self.numel, part.numel())
        return result


def table(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The report on a folder, to the last digit."""
    report_main([str(folder), "--form", "csv"])
    return capsys.readouterr().out

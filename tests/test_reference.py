"""The reference classifier of a GAN: trained once, whatever is killed or started at the same time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import calotype
from calotype.records import FORMAT
from calotype.reference import _train_once
from calotype.run_folder import process
from calotype.tasks.classification import Classification

# The default classifier of a small set of images, and a GAN that trains for one epoch.
GAN = [
    "task=gan", "dataset=digits", "data.classes=[0,1]", "data.preprocess.size=16", "model.width=4", "task.samples=100",
    "trainer.max_epochs=1", "hardware=cpu", "hardware.num_threads=1", "logger=none",
]  # fmt: skip


class Killed(BaseException):
    """Stands for SIGKILL."""


def test_killed_while_it_trains_and_resumed(tmp_path: Path) -> None:
    def killed(self: Any) -> None:
        if self.current_epoch == 3:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classification, "on_train_epoch_start", killed)
        with pytest.raises(Killed):
            calotype.run([*GAN, "hydra.run.dir=a"])
    (classifier,) = (tmp_path / "outputs" / "judges").glob("*/run.json")
    for path in (classifier, tmp_path / "a" / "run.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "status": "running", "pid": 2**30}))

    resumed = calotype.run(["resume=a"])
    assert json.loads(classifier.read_text())["status"] == "finished"
    assert len(json.loads(classifier.read_text())["resumed"]) == 1
    assert resumed.metrics["test/frechet_distance"] is not None
    assert calotype.run([*GAN, "seed=1", "hydra.run.dir=b"]).metrics["test/kid"] is not None
    assert len(json.loads(classifier.read_text())["resumed"]) == 1  # it was not trained again


def test_awaited_where_another_run_trains_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "judges" / "a"
    folder.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        start = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
        record = {**process(), "pid": other.pid, "process_start": start, "format": FORMAT, "status": "running"}
        (folder / "run.json").write_text(json.dumps(record))
        waiting = threading.Thread(target=_train_once, args=(None, folder, fail))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()

        (folder / "metrics.json").write_text("{}")
        (folder / "run.json").write_text(json.dumps({**record, "status": "finished"}))
        waiting.join(10)
        assert not waiting.is_alive()
        assert other.stdin is not None
        other.stdin.write(b"\n")
    assert "waiting for" in capsys.readouterr().out
    assert os.listdir(folder)


def fail(*_: Any, **__: Any) -> None:
    raise AssertionError("it was trained a second time")


@pytest.mark.slow
@pytest.mark.xdist_group("ddp")
def test_two_processes_share_it(tmp_path: Path) -> None:
    """One process trains it, before the other is started; the metrics are the first one's."""
    run = calotype.run([*GAN, "hardware=ddp_cpu", "hydra.run.dir=two"])
    record = json.loads((tmp_path / "two" / "run.json").read_text())
    assert (record["status"], record["hardware"]["processes"]) == ("finished", 2)
    assert run.metrics["test/kid"] is not None
    (classifier,) = (tmp_path / "outputs" / "judges").glob("*/run.json")
    assert json.loads(classifier.read_text())["hardware"]["processes"] == 1

"""The life of a run: killed and resumed, run again, failed, on two processes."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import calotype
from calotype.callbacks.metrics_csv import read_metrics
from calotype.check import ConfigError
from calotype.hardware import precision
from calotype.run_folder import RunRecord
from calotype.types import UserError
from helpers import rewrite

CALOTYPE = [sys.executable, "-m", "calotype.cli"]
# Everything random at once: augmentation, dropout, a shuffled and weighted order, a schedule.
RANDOM = [
    "model.widths=[4,8]", "model.dropout=0.3", "data.augment.rotate=10", "data.augment.flip=0.5", "data.augment.erase=0.5",
    "data.balanced=true", "hardware=cpu", "hardware.num_threads=1", "logger=none", "trainer.max_epochs=6",
]  # fmt: skip


def status(folder: Path) -> str:
    return json.loads((folder / "run.json").read_text())["status"]


def test_killed_and_resumed_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    slow = [*RANDOM, "data.batch_size=16", f"hydra.run.dir={tmp_path}/killed"]
    whole = calotype.run([*RANDOM, "data.batch_size=16", f"hydra.run.dir={tmp_path}/whole8"])
    with subprocess.Popen([*CALOTYPE, *slow], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 2/"):
                break
        time.sleep(0.2)  # into the third epoch
        process.send_signal(signal.SIGKILL)
    killed = tmp_path / "killed"
    assert status(killed) == "running"
    assert not (killed / "metrics.json").exists()
    resumed = calotype.run([f"resume={killed}"])
    assert (killed / "metrics.json").read_bytes() == (tmp_path / "whole8" / "metrics.json").read_bytes()
    assert read_metrics(killed / "metrics.csv") == read_metrics(tmp_path / "whole8" / "metrics.csv")
    assert resumed.metrics == whole.metrics
    assert status(killed) == "finished"
    with pytest.raises(UserError, match="is finished"):
        calotype.run([f"resume={killed}"])


def test_resumed_before_the_first_checkpoint_starts_over(tmp_path: Path) -> None:
    whole = calotype.run([*RANDOM, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/a"])
    for name in ("checkpoints/last.ckpt", "checkpoints/best.ckpt"):
        (tmp_path / "a" / name).unlink()
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    (tmp_path / "a" / "run.json").write_text(json.dumps({**record, "status": "failed"}))
    assert calotype.run([f"resume={tmp_path}/a"]).metrics == whole.metrics


UNTRAINED = ["trainer.limit_train_batches=0", "trainer.max_time=00:00:00:00"]


@pytest.mark.parametrize("override", UNTRAINED)
def test_a_run_that_trains_nothing_says_so(override: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calotype.run([*RANDOM, override, f"hydra.run.dir={tmp_path}/run"])
    (alarm,) = json.loads((tmp_path / "run" / "run.json").read_text())["alarms"]
    assert alarm.startswith("nothing was trained")
    assert capsys.readouterr().err.splitlines()[-1] == f"calotype: {alarm}"


def test_what_is_fitted_at_once_is_trained(tmp_path: Path) -> None:
    run = calotype.run(["model=nearest_neighbour", "hardware=cpu", "logger=none", f"hydra.run.dir={tmp_path}/run"])
    assert "alarms" not in json.loads((run.run_dir / "run.json").read_text())


def test_resume_needs_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a run folder"):
        calotype.run([f"resume={tmp_path}"])


def test_a_running_run_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        calotype.run([*RANDOM, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/a"])
        stat = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
        record = json.loads((tmp_path / "a" / "run.json").read_text())
        record |= {"status": "running", "pid": other.pid, "process_start": stat}
        (tmp_path / "a" / "run.json").write_text(json.dumps(record))
        with pytest.raises(UserError, match="is still running"):
            calotype.run([f"resume={tmp_path}/a"])
    finally:
        other.kill()
        other.wait()
    calotype.run([f"resume={tmp_path}/a"])


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    first = calotype.run([*RANDOM, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/a"])
    with pytest.raises(UserError, match="holds a run already"):
        calotype.run([*RANDOM, "seed=1", f"hydra.run.dir={tmp_path}/a"])
    assert json.loads((tmp_path / "a" / "metrics.json").read_text()) == first.metrics
    assert status(tmp_path / "a") == "finished"


def test_default_folders_do_not_collide() -> None:
    folders = {calotype.run([*RANDOM, "dry_run=true"]).run_dir for _ in range(5)}
    assert len(folders) == 5
    (folder,) = {f.parent for f in folders}
    assert folder.parts[-3:] == ("outputs", "classification", "default")


def test_rerun_says_whether_it_is_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from calotype.cli_report import rerun_main

    calotype.run([*RANDOM, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/a"])
    monkeypatch.chdir(tmp_path)
    rerun_main([f"{tmp_path}/a"])
    assert len(list(tmp_path.glob("outputs/reruns/*/metrics.json"))) == 1
    rerun_main([f"{tmp_path}/a", "--out", f"{tmp_path}/b"])
    assert "are the same to the last bit" in capsys.readouterr().out
    assert status(tmp_path / "b") == "finished"
    figures = json.loads((tmp_path / "a" / "metrics.json").read_text())
    (tmp_path / "a" / "metrics.json").write_text(json.dumps({**figures, "test/accuracy": 0.123}))
    before = json.loads((tmp_path / "a" / "run.json").read_text())["data_hash"]
    rewrite(tmp_path / "a", data_hash="other")
    with pytest.raises(SystemExit) as left:
        rerun_main([f"{tmp_path}/a", "--out", f"{tmp_path}/c"])
    assert left.value.code == 1
    printed = capsys.readouterr().out
    assert "differs  test/accuracy: 0.123 before" in printed
    assert f"differs  data_hash: other before, {before} now" in printed
    assert "versions" not in printed
    (tmp_path / "a" / "config.yaml").write_text("")
    with pytest.raises(SystemExit):
        rerun_main([f"{tmp_path}/a"])
    assert "config.yaml: damaged (its checksum is not right)" in capsys.readouterr().err
    rewrite(tmp_path / "a")
    with pytest.raises(SystemExit):
        rerun_main([f"{tmp_path}/a"])
    assert "config.yaml: damaged (no config)" in capsys.readouterr().err


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """run.json says failed, and no figures lie there that look finished."""

    def save(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "last.ckpt")

    monkeypatch.setattr("pytorch_lightning.trainer.trainer.Trainer.save_checkpoint", save)
    with pytest.raises(UserError, match=r"the disk is full \(last.ckpt\)"):
        calotype.run([*RANDOM, f"hydra.run.dir={tmp_path}/a"])
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert record["status"] == "failed"
    assert "disk is full" in record["error"]
    assert not (tmp_path / "a" / "metrics.json").exists()


def test_disk_that_fills_in_a_checkpoint_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from calotype.checkpoint_io import AtomicCheckpointIO, read_checkpoint

    path = tmp_path / "c" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"a": 1}, path)

    def half(value: object, file) -> None:  # type: ignore[no-untyped-def]
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="No space"):
        AtomicCheckpointIO().save_checkpoint({"a": 2}, path)
    assert read_checkpoint(path)["a"] == 1
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_a_little_disk_is_kept_for_the_last_word(tmp_path: Path) -> None:
    record = RunRecord.start(tmp_path / "r")
    reserve = tmp_path / "r" / ".reserve"
    assert reserve.stat().st_size > 10000
    record.finish("failed", error="x")
    assert not reserve.exists()


def test_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("calotype.tasks.classification.Classification.on_validation_epoch_end", stop)
    with pytest.raises(KeyboardInterrupt, match=r"calotype resume=a$"):
        calotype.run([*RANDOM, f"hydra.run.dir={tmp_path}/a"])
    assert status(tmp_path / "a") == "interrupted"


class Interrupting:
    """State of a callback that is interrupted while a checkpoint is written."""

    def __reduce__(self) -> Any:
        raise KeyboardInterrupt


def test_interrupted_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.save closes its archive, which fails, and that error hid the interruption: the run was called failed."""
    monkeypatch.setattr("calotype.callbacks.divergence.Divergence.state_dict", lambda self: {"x": Interrupting()}, raising=False)
    with pytest.raises(KeyboardInterrupt, match=r"calotype resume=a$"):
        calotype.run([*RANDOM, f"hydra.run.dir={tmp_path}/a"])
    assert status(tmp_path / "a") == "interrupted"
    assert not list((tmp_path / "a" / "checkpoints").glob("*.part"))


def test_failure_of_the_programs_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calotype.tasks.classification.Classification.on_validation_epoch_end", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        calotype.run([*RANDOM, f"hydra.run.dir={tmp_path}/a"])
    assert status(tmp_path / "a") == "failed"


@pytest.mark.xdist_group("ddp")
def test_two_processes_train_one_network(tmp_path: Path) -> None:
    """Gradients averaged over two halves of each batch are those of the batch; figures count every image once."""
    options = ["model=mlp", "model.widths=[16]", "logger=none", "trainer.max_epochs=3"]
    one = calotype.run([*options, "hardware=cpu", "data.batch_size=64", f"hydra.run.dir={tmp_path}/one"])
    torch.set_num_threads(2)  # Lightning gives each process one; they are given back
    environment = dict(os.environ)
    two = calotype.run([*options, "hardware=ddp_cpu", "data.batch_size=32", f"hydra.run.dir={tmp_path}/two"])
    assert set(one.metrics) == set(two.metrics)
    for name, value in one.metrics.items():
        assert value == pytest.approx(two.metrics[name], abs=2e-3), name
    assert json.loads((tmp_path / "two" / "run.json").read_text())["hardware"]["processes"] == 2
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert dict(os.environ) == environment
    assert not torch.distributed.is_initialized()
    assert (tmp_path / "two" / "images" / "confusion_matrix.png").exists()
    assert len(list(tmp_path.rglob("run.json"))) == 2  # the second process made no folder of its own


@pytest.mark.xdist_group("ddp")
def test_two_processes_play_one_game(tmp_path: Path) -> None:
    """Each step leaves the other network's parameters without a gradient, which plain ddp waits for for ever."""
    points = ["task=gan", "dataset=gaussians_2d", "dataset.num_points=600", "model=gan/mlp_gan", "model.widths=[16]", "task.samples=200"]
    short = ["data.batch_size=50", "trainer.max_epochs=2", "logger=none"]
    run = calotype.run([*points, *short, "hardware=ddp_cpu", f"hydra.run.dir={tmp_path}/two"])
    torch.set_num_threads(1)
    told = json.loads((tmp_path / "two" / "run.json").read_text())
    assert (told["status"], told["hardware"]["processes"]) == ("finished", 2)
    assert int(run.module.steps) == 2 * math.ceil(run.module.trainer.num_training_batches)
    assert 0 <= run.metrics["test/modes"] <= 25


@pytest.mark.slow
@pytest.mark.xdist_group("ddp")
def test_a_failure_of_several_processes_is_one_line(tmp_path: Path) -> None:
    """And run.json does not stay `running`, whichever process is the first to see it."""
    faces = ["task=facenet", "dataset=synthetic_faces", "dataset.num_identities=60", "dataset.images_per_identity=4"]
    command = [*CALOTYPE, *faces, "optimizer.lr=1e30", "trainer.max_epochs=1", "hardware=ddp_cpu", "hydra.run.dir=a"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("calotype:")]
    assert "training diverged" in line
    assert "Traceback" not in done.stderr
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert (record["status"], "training diverged" in record["error"]) == ("failed", True)
    assert "Traceback" in (tmp_path / "a" / "run.log").read_text()


def test_hardware_that_is_not_there(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    for hardware in ("gpu", "fsdp"):
        with pytest.raises(ConfigError, match=r"^hardware.accelerator=gpu: torch finds no GPU on this machine; choose hardware=cpu$"):
            calotype.run([f"hardware={hardware}", f"hydra.run.dir={tmp_path}/{hardware}"])
        assert not (tmp_path / hardware).exists()


def test_precision_is_decided_by_the_machine_only_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision("32-true", "cpu") == "32-true"
    for native, want in ((True, "bf16-mixed"), (False, "32-true")):
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            monkeypatch.setattr(torch.cpu, name, lambda native=native: native, raising=False)
        assert precision("auto", "cpu") == want


def test_bfloat16_and_memory_format_reach_the_network(tmp_path: Path) -> None:
    result = calotype.run([*RANDOM, "hardware=cpu_bf16", "hardware.num_threads=1", "debug=fast", f"hydra.run.dir={tmp_path}/a"])
    assert result.module.trainer.precision == "bf16-mixed"
    weight = result.module.model.features[3].conv2.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    plain = calotype.run([*RANDOM, "hardware.memory_format=contiguous_format", "debug=fast", f"hydra.run.dir={tmp_path}/b"])
    assert plain.module.model.features[3].conv2.weight.is_contiguous()

"""Kills small sweeps at random moments and repeats their command until it ends.

    PYTHONPATH=src python tests/protocols/kill_sweeps.py --sweeps 30 --seed 0

Every second sweep has the joblib launcher with two workers, the others run in one process. Each is killed (SIGKILL of the
main process alone) up to `--kills` times, each time a random while after a random number of epochs of its jobs, none included,
and repeated at once, so that orphaned workers may still be at their job. Checked for each: the last command ends with exit code 0; each job
is finished, and began its training once but for the times it was cut off; the table (`calotype-report --form csv`) is that of
an undisturbed sweep to the last digit; no process of the sweep is left. The exit code is 1 where a check fails. pytest does
not collect this file; tests/test_sweep_kills.py runs one sweep of each launcher by it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SWEPT = [
    "experiment=classification/digits", "trainer.max_epochs=12", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1", "model.widths=[4]", "model.dropout=0.2", "hardware=cpu", "hardware.num_threads=1", "logger=none",
    "~callbacks.loss_curves", "~callbacks.pictures", "seed=range(4)",
]  # fmt: skip
LAUNCHERS = {"basic": [], "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]}
JOBS = 4
ATTEMPTS = 20  # that a sweep is repeated at most


@dataclass
class Outcome:
    """What came of one sweep: how often it was killed, the seconds it took, and what is wrong with it."""

    kills: int
    seconds: float
    faults: list[str] = field(default_factory=list)


def command(launcher: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "calotype.cli", "-m", *SWEPT, *LAUNCHERS[launcher], f"hydra.sweep.dir={folder}"]


def undisturbed(scratch: Path) -> tuple[str, float]:
    """Run the sweep without a kill; return its table and the seconds it took."""
    start = time.monotonic()
    subprocess.run(command("basic", scratch / "whole"), cwd=scratch, check=True, capture_output=True)
    return table(scratch / "whole"), time.monotonic() - start


def table(folder: Path) -> str:
    report = [sys.executable, "-c", "from calotype.cli_report import report_main; report_main()", str(folder), "--form", "csv"]
    return subprocess.run(report, check=True, capture_output=True, text=True).stdout


def kill_and_repeat(launcher: str, folder: Path, moments: list[tuple[int, float]], wanted: str) -> Outcome:
    """Run a sweep that is killed at each of `moments` (epochs since its start, seconds after them), repeat it to its end, check it."""
    start, kills, code = time.monotonic(), 0, -1
    left, path = list(moments), folder.parent / f"{folder.name}.log"
    for _ in range(ATTEMPTS):
        with path.open("w") as log:
            process = subprocess.Popen(
                command(launcher, folder), cwd=folder.parent, stdout=log, stderr=subprocess.STDOUT, env=environment(folder)
            )
        if left and waited_for(process, path, *left.pop(0)):
            process.send_signal(signal.SIGKILL)
            kills += 1
        code = process.wait()
        if code != -signal.SIGKILL:
            break
    outcome = Outcome(kills, time.monotonic() - start)
    if code != 0:
        outcome.faults.append(f"exit code {code}: {path.read_text()[-300:]}")
    outcome.faults += list(faults_of_jobs(folder))
    if table(folder) != wanted:
        outcome.faults.append("the table differs from that of an undisturbed sweep")
    deadline = time.monotonic() + 30
    while (alive := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    if alive:
        outcome.faults.append(f"processes are left: {alive}")
    return outcome


def waited_for(process: subprocess.Popen[bytes], log: Path, epochs: int, seconds: float) -> bool:
    """Wait until the log has so many epochs, and the seconds after; return whether the process is still there."""
    while process.poll() is None and log.read_text().count("\nepoch ") < epochs:
        time.sleep(0.02)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def faults_of_jobs(folder: Path) -> Iterator[str]:
    """Each job is finished, and its curve has every epoch once: nothing was computed twice over, or left out."""
    records = sorted(folder.glob("*/run.json"))
    if len(records) != JOBS:
        yield f"{len(records)} runs, not {JOBS}"
    for path in records:
        record = json.loads(path.read_text())
        if record["status"] != "finished":
            yield f"{path.parent.name}: {record['status']}"
        curve = (path.parent / "metrics.csv").read_text().splitlines()
        losses = [line for line in curve if ",val/loss," in line]
        if len(losses) != len(set(losses)):
            yield f"{path.parent.name}: an epoch stands twice in metrics.csv"


def environment(folder: Path) -> dict[str, str]:
    """By which the processes of a sweep, its workers too, can be found."""
    return {**os.environ, "KILL_SWEEPS": str(folder)}


def processes_of(folder: Path) -> list[int]:
    """The living processes that have the sweep's mark in their environment (Linux)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            mark = f"KILL_SWEEPS={folder}\0".encode()
            if mark in (entry / "environ").read_bytes() + b"\0":
                found.append(int(entry.name))
    return found


def moment(generator: random.Random, seconds: float) -> tuple[int, float]:
    """A number of epochs, and a while after them; without an epoch somewhere in the start, which takes most of the seconds."""
    epochs = generator.choice([0, *range(1, 36)] if generator.random() < 0.8 else [0])
    return epochs, generator.uniform(0, 0.3 if epochs else seconds / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=30)
    parser.add_argument("--kills", type=int, default=2, help="of each sweep, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    generator = random.Random(options.seed)
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        wanted, seconds = undisturbed(Path(scratch))
        print(f"undisturbed: {seconds:.1f} s\n{wanted}", flush=True)
        for number in range(options.sweeps):
            launcher = list(LAUNCHERS)[number % 2]
            moments = [moment(generator, seconds) for _ in range(generator.randint(1, options.kills))]
            outcome = kill_and_repeat(launcher, Path(scratch) / f"sweep{number}", moments, wanted)
            bad += bool(outcome.faults)
            told = "; ".join(outcome.faults) or "as undisturbed"
            print(f"{number:3} {launcher:6} {outcome.kills} kills {outcome.seconds:6.1f} s  {told}", flush=True)
    print(f"{options.sweeps - bad} of {options.sweeps} sweeps are as undisturbed", flush=True)
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()

"""Kills runs of every task at random moments, resumes them, and compares all that they leave with an undisturbed run.

    python tests/protocols/kill_and_resume.py                    all 13 tasks, 5 kills each
    python tests/protocols/kill_and_resume.py --tasks gan dip --kills 2

Every task has its default configuration, the hardware's included (all cores, and bfloat16 on processors that compute in
it), on data that comes with the packages; only the length of training is reduced.
A run is killed with SIGKILL, in a process of its own, at a moment that the seed gives: the first kill comes after the
fit (in the evaluation or while pictures are made), the others within the time that the undisturbed run took. What must
be the same to the last bit: metrics.json, metrics.csv without its column of seconds, and the pixels of every picture.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FACES = ["dataset=synthetic_faces", "dataset.num_identities=20", "dataset.images_per_identity=5", "data.preprocess.size=32"]
# The default configuration of each task; what stands here makes it short.
COMMANDS: dict[str, list[str]] = {
    "classification": ["trainer.max_epochs=3"],
    "facenet": [*FACES, "trainer.max_epochs=3"],
    "siamese": [*FACES, "trainer.max_epochs=2", "data.train_pairs=96"],
    "dip": [
        "data.crop_to=32", "data.shrink=16", "data.sigma=25", "data.iterations_per_epoch=10", "task.iterations=40",
        "task.stop.start=12", "task.stop.patience=8",
    ],
    "style_transfer": ["data.size=48", "task.steps=30", "data.steps_per_epoch=10"],
    "fast_style": [
        "data.size=48", "data.style_size=48", "data.test_size=64", "data.steps_per_epoch=3",
        "trainer.max_epochs=2",
    ],
    "visualise": ["data.size=48", "task.steps=48", "task.channels=2", "data.steps_per_epoch=16"],
    "gan": ["trainer.max_epochs=2", "task.samples=500"],
    "cgan": ["trainer.max_epochs=2", "task.samples=500"],
    "translation": ["data.preprocess.size=32", "dataset=photos", "trainer.max_epochs=2", "data.batch_size=16"],
    "cyclegan": [
        "data.preprocess.size=32", "dataset=photos", "trainer.max_epochs=2", "data.batch_size=16",
        "model=gan/cycle_light",
    ],
    "pixelcnn": ["trainer.max_epochs=2"],
    "efros_leung": ["callbacks.pictures.size=40", "callbacks.pictures.hole=12", "callbacks.pictures.sample=48"],
}  # fmt: skip


def command(task: str, folder: Path) -> list[str]:
    """The overrides of a run of the task."""
    return [f"task={task}", *COMMANDS[task], f"paths.output_dir={folder.parent / 'outputs'}", f"hydra.run.dir={folder}"]


def in_child(work: Callable[[], Any], *, kill: Callable[[], None] | None = None) -> int:
    """Run `work` in a forked process, whose standard output goes to a file; its exit status, -9 where it was killed."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if kill is not None:
                kill()
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_after(seconds: float) -> Callable[[], None]:
    """Let this process be killed after so many seconds."""

    def arm() -> None:
        timer = threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()

    return arm


def kill_in_evaluation(seconds: float) -> Callable[[], None]:
    """Let this process be killed so many seconds after its run's fit has ended."""

    def arm() -> None:
        from calotype import runner

        evaluate = runner.evaluate

        def armed(training: Any) -> Any:
            if training.run_dir.name != "killed":  # a reference classifier on the way
                return evaluate(training)
            kill_after(seconds)()
            return evaluate(training)

        runner.evaluate = armed

    return arm


def contents(folder: Path) -> dict[str, Any]:
    """What must be the same: metrics, the rows of metrics.csv without seconds, the pixels of all pictures."""
    found: dict[str, Any] = {"metrics.json": json.loads((folder / "metrics.json").read_text())}
    if (folder / "metrics.csv").exists():  # task=efros_leung measures nothing
        with (folder / "metrics.csv").open(newline="") as file:
            found["metrics.csv"] = [row[:4] for row in csv.reader(file)]
    for path in sorted((folder / "images").rglob("*")):
        if path.suffix in (".png", ".gif", ".tif"):
            with Image.open(path) as image:
                found[path.relative_to(folder).as_posix()] = np.asarray(image).tobytes()
    return found


def differences(whole: Path, resumed: Path) -> list[str]:
    """The names of what differs, or is there in only one of the two run folders."""
    a, b = contents(whole), contents(resumed)
    return sorted(name for name in {*a, *b} if a.get(name) != b.get(name))


def undisturbed(task: str, folder: Path) -> tuple[float, float]:
    """Run the task; its seconds in all, and those after the fit."""
    import calotype

    began = time.perf_counter()
    if in_child(lambda: calotype.run(command(task, folder))) != 0:
        raise RuntimeError(f"{task}: the undisturbed run failed")
    seconds = json.loads((folder / "run.json").read_text())["seconds"]
    return time.perf_counter() - began, seconds["test"] + seconds["pictures"]


def killed_and_resumed(task: str, folder: Path, arm: Callable[[], None]) -> str:
    """Kill a run and resume it in another process; what there was when it was killed, "" where it ended before."""
    import calotype

    shutil.rmtree(folder, ignore_errors=True)
    status = in_child(lambda: calotype.run(command(task, folder)), kill=arm)
    record = folder / "run.json"
    if status == 0:
        return ""
    if status != -signal.SIGKILL:
        raise RuntimeError(f"{task}: the run that was to be killed ended by itself, {status}")

    if not record.is_file():
        state = "before run.json"
        again = command(task, folder)
    else:
        has_checkpoint = (folder / "checkpoints" / "last.ckpt").is_file()
        is_fitted = "ended_by" in json.loads(record.read_text())
        state = "after the fit" if is_fitted else "in the fit" if has_checkpoint else "before a checkpoint"
        again = [f"resume={folder}"]
    if in_child(lambda: calotype.run(again)) != 0:
        raise RuntimeError(f"{task}: the resumed run failed (it was killed {state})")
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(COMMANDS), choices=list(COMMANDS))
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    import calotype.runner  # noqa: F401  (imported once, not in every child; it starts no threads, which a fork would lack)

    random.seed(options.seed)
    failed = 0
    for task in options.tasks:
        root = Path(tempfile.mkdtemp(prefix=f"kill-{task}-"))
        os.chdir(root)
        whole, killed = root / "whole", root / "killed"
        seconds, after = undisturbed(task, whole)
        for i in range(options.kills):
            state, share = "", random.random()
            while not state:  # a run that ends before its kill is killed earlier
                share *= 0.8
                arm = kill_in_evaluation(share * after) if i == 0 else kill_after(share * seconds)
                state = killed_and_resumed(task, killed, arm)
            different = differences(whole, killed)
            failed += bool(different)
            told = f"DIFFERS: {', '.join(different)}" if different else "the same to the last bit"
            print(f"{task:15} killed {state:22} {told}", flush=True)
        if not failed:
            shutil.rmtree(root)
    print(f"{failed} of {len(options.tasks) * options.kills} resumed runs differ", flush=True)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

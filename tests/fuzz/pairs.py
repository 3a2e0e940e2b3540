"""Composes every pair of task, model and kind of data, and starts what is accepted: `python tests/fuzz/pairs.py --start`.

    python tests/fuzz/pairs.py --options --start      each option of every other group, for each task
    python tests/fuzz/pairs.py --start --hardware auto --tasks gan      on a GPU where there is one

Each is refused in one line before anything is built, or it trains. A line for each that does neither, and the counts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

TASKS = (
    *("classification", "siamese", "facenet", "dip", "style_transfer", "fast_style", "visualise"),
    *("gan", "cgan", "translation", "cyclegan", "pixelcnn", "efros_leung"),
)
DATASETS = ("digits", "gaussians_2d", "photos", "textures", "synthetic_faces", "one_image", "folder", "points", "arrays")
TINY = ("debug=fast", "logger=none", "trainer.max_epochs=1", "seed=0")
# What a task takes to be over soon.
SHORT = {
    "dip": ("task.iterations=2", "task/stop=fixed", "data.shrink=2"),
    "style_transfer": ("task.scales=[1]", "task.steps=2"),
    "visualise": ("task.steps=2",),
    "gan": ("task.samples=100", "task.classifier=null"),
    "cgan": ("task.samples=100", "task.classifier=null"),
    "pixelcnn": ("task.samples=4",),
}


def models() -> Iterator[tuple[str, str]]:
    """Yield an option for each class of model, and the class."""
    from calotype.choices import Choices

    choices = Choices()
    seen = set()
    for option in choices.options("model"):
        target = str(choices.target("model", option))
        if target not in seen or "embedding" in option:
            seen.add(target)
            yield option, target


def options_of_groups() -> Iterator[str]:
    """Yield `group=option` for all groups whose choice changes what is built, but for data sets and models."""
    conf = Path(__file__).resolve().parents[2] / "conf"
    others = {"experiment", "hydra", "hardware", "paths", "logger", "debug", "dataset", "model"}
    for file in sorted(conf.rglob("*.yaml")):
        group = file.parent.relative_to(conf).as_posix()
        if group not in (".", "task") and (group.partition("/")[0] not in others or group == "model/features"):
            yield f"{group}={file.stem}"


def data(folder: Path) -> dict[str, tuple[str, ...]]:
    """Return the overrides of each data set; those that are not embedded are written into `folder`."""
    rng = np.random.RandomState(0)
    for name in ("dark", "bright"):
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
        for i in range(12):
            level = 60 if name == "dark" else 190
            pixels = np.clip(rng.normal(level, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{i}.png")
    labels = np.arange(60) % 3
    np.savez(folder / "points.npz", images=rng.normal(size=(60, 2)).astype(np.float32), labels=labels)
    np.savez(folder / "arrays.npz", images=rng.randint(0, 255, (60, 32, 32), dtype=np.uint8), labels=labels)
    Image.fromarray(rng.randint(0, 255, (48, 48, 3), dtype=np.uint8)).save(folder / "one.png")
    return {
        **{name: (f"dataset={name}",) for name in DATASETS[:5]},
        "one_image": ("dataset=one_image", f"dataset.path={folder / 'one.png'}"),
        "folder": ("dataset=image_folder", f"dataset.root={folder / 'images'}"),
        "points": ("dataset=arrays", f"dataset.path={folder / 'points.npz'}"),
        "arrays": ("dataset=arrays", f"dataset.path={folder / 'arrays.npz'}"),
    }


def outcome(overrides: list[str], *, start: bool) -> tuple[str, str]:
    """Return `refused`, `failed`, `traceback`, `warned` or `right`, and the line or the end of the traceback."""
    from calotype import run
    from calotype.check import ConfigError
    from calotype.types import UserError

    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run([*overrides, f"dry_run={str(not start).lower()}"])
    except ConfigError as error:
        return "refused", str(error)
    except UserError as error:
        return "failed", str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return "traceback", f"{type(error).__name__}: {' '.join(str(error).split())[:150]} ({Path(where.filename).name}:{where.lineno})"
    return "right", ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", action="store_true", help="what is accepted")
    parser.add_argument("--hardware", default="cpu", help="an option of the group, as auto for a GPU")
    parser.add_argument("--options", action="store_true", help="of every group, in place of models and data")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS))
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
    counts: dict[str, int] = {}
    common = [*TINY, f"hardware={options.hardware}", "paths.output_dir=out"]

    def tried(overrides: list[str], names: tuple[str, ...]) -> tuple[str, str]:
        began = time.perf_counter()
        what, line = outcome(overrides, start=False)
        if what == "right" and options.start:
            what, line = outcome([*overrides, *SHORT.get(names[0], ())], start=True)
        counts[what] = counts.get(what, 0) + 1
        long = " LONG" if len(line) > 200 and what == "refused" else ""
        if what not in ("refused", "right") or long:
            print(f"{what}{long}", *names, f"{time.perf_counter() - began:.1f} s", line, sep="\t", flush=True)
        return what, line

    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        sets = data(Path(scratch) / "data")
        for task in options.tasks:
            for overrides in options_of_groups() if options.options else ():
                tried([f"task={task}", overrides, *common], (task, overrides))
            for option, _ in () if options.options else models():
                for name in options.datasets:
                    what, line = tried([f"task={task}", f"model={option}", *sets[name], *common], (task, option, name))
                    if what == "refused" and (line.startswith("model: ") or "takes model" in line) and "dataset" not in line:
                        break  # whatever the data
    print(counts)


if __name__ == "__main__":
    main()

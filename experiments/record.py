"""Takes finished runs into experiments/: a JSON file of evidence each, and the tables of both READMEs made from these files.

python experiments/record.py RUN...
python experiments/record.py study STUDY SWEEP   what calotype-report reads of each run of a study, into experiments/STUDY/runs
"""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
START, END = "<!-- table: made by record.py -->", "<!-- end of table -->"
GLANCE_START = "<!-- table: made by experiments/record.py -->"
SHOWN = {
    "classification": ("test/accuracy", "test/balanced_accuracy", "test/average_precision", "test/tpr_at_fpr_1e-2", "val/accuracy"),
    "siamese": ("test/accuracy", "test/eer", "test/auroc", "test/tar_at_far_1e-2", "test/one_shot_accuracy", "val/accuracy"),
    "facenet": (
        "test/eer", "test/tar_at_far_1e-2", "test/one_shot_accuracy", "test/accuracy", "test/rank1", "test/dir_at_fpir_1e-2", "val/eer",
    ),
    "dip": (
        "psnr_at_stop", "psnr_peak", "psnr_last", "ssim_at_stop", "hole_psnr_at_stop", "psnr_observed", "baseline/nlm_psnr",
        "baseline/bm3d_psnr", "baseline/hole_telea_psnr", "baseline/hole_navier_stokes_psnr", "baseline/hole_biharmonic_psnr",
        "baseline/bicubic_psnr", "iterations_at_stop", "iterations", "seconds_per_iteration",
    ),
    "style_transfer": (
        "patch_distance", "content_image/patch_distance", "heldout/style_distance", "content_image/heldout/style_distance", "ssim_content",
        "style_image/ssim_content", "style_loss", "content_loss", "steps", "seconds_per_step",
    ),
    "gan": (
        "test/modes", "test/high_quality", "test/mode_kl", "test/classifier_score", "test/real_classifier_score", "test/frechet_distance",
        "test/frechet_floor", "test/kid", "test/precision", "test/recall", "test/density", "test/coverage", "test/least_class",
    ),
    "cgan": (
        "test/condition_accuracy", "test/coverage", "test/density", "test/precision", "test/recall", "test/classifier_score",
        "test/frechet_distance", "test/frechet_floor", "test/kid", "test/psnr", "test/input_psnr", "test/ssim", "test/input_ssim",
        "test/few_real_accuracy", "test/augmented_accuracy", "test/gan_train_accuracy",
    ),
    "pixelcnn": (
        "test/nll_nats", "test/bits_per_dim", "test/independent_bits_per_dim", "test/png_bits_per_dim", "test/gan_train_accuracy",
        "test/few_real_accuracy", "val/nll_nats",
    ),
}  # fmt: skip
LOWER_IS_BETTER = {
    "test/eer", "val/eer", "patch_distance", "heldout/style_distance", "style_loss", "content_loss", "seconds_per_step",
    "seconds_per_iteration", "test/mode_kl", "test/frechet_distance", "test/kid", "test/nll_nats", "test/bits_per_dim", "val/nll_nats",
}  # fmt: skip
# The front page: task, what is measured, its files of evidence (of several the mean) and figure; a yardstick, its files and figure.
GLANCE = (
    ("classification", "20 people of LFW: accuracy", "classification/people20.json", "test/accuracy",
     "the lecture's network on the same split", "classification/people20_lecture.json", "test/accuracy"),
    ("siamese", "the same person? 20 of LFW never seen: equal error rate", "siamese/faces.json", "test/eer",
     "the lecture's network", "siamese/faces_lecture.json", "test/eer"),
    ("facenet", "20 people of LFW never seen, by embeddings: equal error rate", "facenet/lfw__seed-?.json", "test/eer",
     "LDA of the same ImageNet features, one seed", "facenet/lfw__model-embedding.lda__model.features-efficientnet_lite0.json", "test/eer"),
    ("dip", "noise of 25 of 255 from F16, 256x256: PSNR",
     "dip/denoise__dataset.clean-dip.denoising.F16_GT.png__data.shrink-2.json", "psnr_at_stop",
     "BM3D", "dip/denoise__dataset.clean-dip.denoising.F16_GT.png__data.shrink-2.json", "baseline/bm3d_psnr"),
    ("dip", "text over a photograph: PSNR of the holes", "dip/inpaint_text__data.shrink-2.json", "hole_psnr_at_stop",
     "biharmonic", "dip/inpaint_text__data.shrink-2.json", "baseline/hole_biharmonic_psnr"),
    ("style_transfer", "Gram distance in a network that was not optimized over, mean of six pictures",
     "style_transfer/gatys__*.json", "heldout/style_distance",
     "the content images themselves", "style_transfer/gatys__*.json", "content_image/heldout/style_distance"),
    ("gan", "MNIST: Frechet distance of a classifier's features", "gan/mnist.json", "test/frechet_distance",
     "real images against others", "gan/mnist.json", "test/frechet_floor"),
    ("cgan", "a classifier from 20 real digits of each and drawn ones: accuracy", "cgan/augmentation__seed-?.json",
     "test/augmented_accuracy", "from the real ones alone", "cgan/augmentation__seed-?.json", "test/few_real_accuracy"),
    ("pixelcnn", "MNIST of 256 levels: bits per dimension", "pixelcnn/mnist_256.json", "test/bits_per_dim",
     "PNG", "pixelcnn/mnist_256.json", "test/png_bits_per_dim"),
)  # fmt: skip
NAME = str.maketrans({"/": ".", "=": "-", "'": None})  # of a file, from an override
KEPT = ("name", "seed", "config_hash", "split_hash", "wall_seconds", "git_commit", "git_dirty", "versions", "hardware")


def record(run: Path) -> Path:
    """Write the evidence of a finished run, without anything that is of this machine's folders or name."""
    told = json.loads((run / "run.json").read_text())
    if told["status"] != "finished":
        raise SystemExit(f"{run}: {told['status']}, not finished")
    overrides = told["overrides"]
    label = next((o.partition("=")[2] for o in overrides if o.startswith("experiment=")), told["task"] + "/default")
    rest = (o.replace("${paths.data_dir}/", "").translate(NAME) for o in overrides if not o.startswith("experiment="))
    extra = "".join(f"__{o}" for o in rest)
    evidence = {
        "command": " ".join(["calotype", *(_typed(o) for o in overrides)]),
        **{key: told[key] for key in KEPT},
        "metrics": json.loads((run / "metrics.json").read_text()),
    }
    path = HERE / f"{label}{extra}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(evidence, indent=1) + "\n")
    return path


def _typed(override: str) -> str:
    """As it is typed in a shell, which would put something of its own in place of ${...}."""
    key, _, value = override.partition("=")
    return f"{key}='{value}'" if "$" in value and "'" not in value else override


def table() -> str:
    """Markdown of all evidence below this folder, a table for each task; several seeds of one command are followed by their mean."""
    made = {task: shown for task, shown in SHOWN.items() if any((HERE / task).glob("*.json"))}
    return "\n\n".join(f"**{task}**\n\n{_table_of(task, shown)}" for task, shown in made.items())


def _table_of(task: str, shown: tuple[str, ...]) -> str:
    head = ["command", *shown, "seed", "wall s", "precision"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    seeds: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((HERE / task).glob("*.json")):
        evidence: dict[str, Any] = json.loads(path.read_text())
        seeds.setdefault(re.sub(r" seed=\d+", "", evidence["command"]), []).append(evidence)
    for command, runs in seeds.items():
        for evidence in runs:
            figures = [evidence["metrics"].get(name) for name in shown]
            wall, precision = f"{evidence['wall_seconds']:.0f}", evidence["hardware"]["precision"]
            lines.append(_row(f"`{evidence['command']}`", shown, figures, [str(evidence["seed"]), wall, precision]))
        if len(runs) > 1:
            columns = [[run["metrics"].get(name) for run in runs] for name in shown]
            means = [None if None in column else sum(column) / len(column) for column in columns]
            lines.append(_row(f"mean of `{command}`", shown, means, [f"{len(runs)} seeds", "", ""]))
    return "\n".join(lines)


def glance() -> str:
    """Markdown of the front page's table."""
    lines = ["| task | what | figure | yardstick | minutes |", "|---|---|---|---|---|"]
    for task, what, files, name, yardstick, others, other in GLANCE:
        figure, minutes, seeds = _mean(files, name)
        mark, _, _ = _mean(others, other)
        told = f"{what} (mean of {seeds} seeds)" if "?" in files else what
        lower = name in LOWER_IS_BETTER
        shown = _short(figure, name, upwards=lower), _short(mark, name, upwards=not lower)  # in doubt for the yardstick
        lines.append(f"| {task} | {told} | {shown[0]} | {yardstick}: {shown[1]} | {minutes:.0f} |")
    return "\n".join(lines)


def _mean(files: str, name: str) -> tuple[float, float, int]:
    """Of the evidence whose path has that form: the figure, minutes of a run, how many there are."""
    told = [json.loads(path.read_text()) for path in sorted(HERE.glob(files))]
    count = len(told)
    return sum(one["metrics"][name] for one in told) / count, sum(one["wall_seconds"] for one in told) / count / 60, count


def _short(value: float, name: str, *, upwards: bool) -> str:
    return f"{_cut(value, upwards=upwards, digits=2)} dB" if "psnr" in name else _cut(value, upwards=upwards, digits=3)


def _row(command: str, names: tuple[str, ...], figures: list[float | None], rest: list[str]) -> str:
    cells = ["" if value is None else _cut(value, upwards=name in LOWER_IS_BETTER) for name, value in zip(names, figures, strict=True)]
    return "| " + " | ".join([command, *cells, *rest]) + " |"


def _cut(value: float, *, upwards: bool, digits: int = 4) -> str:
    """So many digits, so that a figure never looks better than it is."""
    return f"{(math.ceil if upwards else math.floor)(value * 10**digits) / 10**digits:.{digits}f}"


def record_study(study: str, sweep: Path) -> int:
    """Write `run.json`, `config.yaml` and `metrics.json` of every run, without what is of this machine's folders or name; how many."""
    runs = [sweep / job for job in sorted(json.loads((sweep / "sweep.json").read_text())["folders"])]  # of the grid as it is now
    target = HERE / study / "runs"
    shutil.rmtree(target, ignore_errors=True)
    for run in runs:
        told = json.loads((run / "run.json").read_text())
        if told["status"] != "finished":
            raise SystemExit(f"{run}: {told['status']}, not finished")
        (target / run.name).mkdir(parents=True)
        kept = {key: told[key] for key in ("format", "status", "task", "overrides", "choices", *KEPT) if key in told}
        (target / run.name / "run.json").write_text(json.dumps(kept, indent=1) + "\n")
        (target / run.name / "metrics.json").write_text((run / "metrics.json").read_text())
        config = (run / "config.yaml").read_text()
        for folder in sorted(set(re.findall(r"^  (?:data|output)_dir: (/.*)$", config, re.MULTILINE))):
            config = config.replace(folder, "data")
        (target / run.name / "config.yaml").write_text(config)
    return len(runs)


def main() -> None:
    if sys.argv[1:2] == ["study"]:
        study, sweep = sys.argv[2:]
        print(f"{record_study(study, Path(sweep))} runs of {study}")
        return
    for run in sys.argv[1:]:
        print(record(Path(run)))
    readme = HERE / "README.md"
    before, _, rest = readme.read_text().partition(START)
    readme.write_text(f"{before}{START}\n{table()}\n{END}{rest.partition(END)[2]}")
    front = HERE.parent / "README.md"
    before, _, rest = front.read_text().partition(GLANCE_START)
    front.write_text(f"{before}{GLANCE_START}\n{glance()}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()

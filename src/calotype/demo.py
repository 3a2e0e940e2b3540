"""The tour: a few short runs on images that come with the packages, and where their pictures are. `make demo` runs it."""

from __future__ import annotations

import time
from pathlib import Path

from calotype.console import echo

TOUR = (
    ("a network learns ten digits", "test/accuracy", ["experiment=classification/digits"]),
    ("the nearest neighbour on the same digits, as a yardstick", "test/accuracy", ["experiment=classification/nearest_neighbour"]),
    (
        "40 drawn people under the recipe for photographed ones: a network that knows ImageNet, another data set",
        "test/accuracy",
        [
            "experiment=classification/people20",
            "name=drawn_people",
            "dataset=synthetic_faces",
            "data.largest_classes=null",
            "data.preprocess.crop=null",
            "data.preprocess.size=64",
            "trainer.max_epochs=8",
        ],
    ),
    (
        "are two digits the same? pairs of digits",
        "test/accuracy",
        ["experiment=siamese/digit_pairs"],
    ),
    ("a noisy photograph restored by a network that saw nothing else", "psnr_at_stop", ["experiment=dip/small"]),
    ("the same photograph in the style of stained tissue", "patch_distance", ["experiment=style_transfer/small"]),
    ("new digits, by two networks against each other", "test/coverage", ["experiment=gan/digits", "trainer.max_epochs=40"]),
    (
        "the digit that is asked for, by the recipe for MNIST",
        "test/condition_accuracy",
        ["experiment=cgan/mnist", "name=small_digits", "dataset=digits", "trainer.max_epochs=40"],
    ),
    ("digits pixel by pixel, and what each was worth", "test/bits_per_dim", ["experiment=pixelcnn/digits", "trainer.max_epochs=20"]),
    (
        "drawn people never seen, told apart by one image each: which of 20?",
        "test/one_shot_accuracy",
        ["experiment=facenet/synthetic_faces"],
    ),
)


def main() -> None:
    """Run the tour; stop at the first run that fails."""
    import calotype
    from calotype.report.page import write_page
    from calotype.report.runs import by_task, read_run
    from calotype.report.table import make_table
    from calotype.run_folder import shown

    start = time.perf_counter()
    folders: list[Path] = []
    rows = []
    for i, (what, figure, overrides) in enumerate(TOUR, 1):
        echo(f"\n[{i}/{len(TOUR)}] {what}\n    calotype {' '.join(overrides)}\n", lines=True)
        result = calotype.run(overrides)
        rows.append((what, figure, result.metrics[figure]))
        folders.append(result.run_dir)
    echo()
    width = max(len(figure) for _, figure, _ in rows)
    for what, figure, value in rows:
        echo(f"{figure:{width}} {value:7.4f}  {what}")
    runs = [read_run(folder) for folder in folders]
    page = Path("outputs") / "demo.html"
    write_page(page, runs, [make_table(task, of_it) for task, of_it in by_task(runs).items()])
    echo()
    echo(f"pictures, figures and curves of all of them: {shown(page)}")
    echo(f"{time.perf_counter() - start:.0f} s in all; each run's folder holds its config, figures and checkpoints")


if __name__ == "__main__":
    main()

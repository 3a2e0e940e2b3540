"""Drawing 64 images of 28x28 pixel by pixel from remembered activations, against a whole forward pass for every pixel; and a training step.

Every position costs the plain loop the same, so that it is timed for the first ROWS rows and its seconds are scaled up to all 28; both have
the same weights, batch, precision and threads (that they draw the same is a test). A training step of batch 64 is timed in what
hardware=auto chooses and in single precision and the default layout.

    .venv/bin/python tests/benchmarks/bench_pixelcnn.py [ROWS]
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import time

import torch
from clock import Clock

import calotype
from calotype.losses.likelihood import CrossEntropy
from calotype.models.gated_pixelcnn import GatedPixelCNN
from calotype.models.pixelcnn import PixelCNN
from calotype.tasks.pixel_draw import draw_pixels

SIZE, BATCH = 28, 64
STEPS, ROUNDS = 10, 4


def drawing(name: str, model: PixelCNN | GatedPixelCNN, rows: int) -> None:
    model.eval()
    nothing = torch.full((BATCH, 1, SIZE, SIZE), torch.nan)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        draw_pixels(model, CrossEntropy(levels=2), nothing)
        seconds.append(time.perf_counter() - start)
    moments = [time.perf_counter()]

    def tell(done: int, _: int) -> None:
        moments.append(time.perf_counter())
        if done == rows:
            raise StopIteration

    with contextlib.suppress(StopIteration):
        draw_pixels(model, CrossEntropy(levels=2), nothing, method="full", tell=tell)
    slow = (moments[-1] - moments[0]) / rows * SIZE
    quick = statistics.median(seconds)
    print(
        f"{name}: {BATCH} images of {SIZE}x{SIZE}: fast {quick:.2f} s, full {slow:.1f} s (by {rows} rows): {slow / quick:.0f} times as fast"
    )


def step(model: str, *hardware: str) -> float:
    Clock.seconds = []
    with tempfile.TemporaryDirectory() as folder:
        calotype.run(
            [
                "task=pixelcnn",
                f"model=pixelcnn/{model}",
                "dataset=digits",
                "data.preprocess.size=28",
                "data.val_fraction=0",
                "data.test_fraction=0",
                "logger=none",
                "~callbacks.pictures",
                *hardware,
                f"trainer.max_epochs={ROUNDS + 1}",
                f"trainer.limit_train_batches={STEPS}",
                "+callbacks.clock._target_=clock.Clock",
                f"hydra.run.dir={folder}/run",
            ]
        )
    return statistics.median(s / STEPS for s in Clock.seconds[1:])


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    torch.manual_seed(0)
    drawing("pixelcnn, 32 channels", PixelCNN((1, SIZE, SIZE), width=32), rows)
    drawing("gated_pixelcnn, 64 channels", GatedPixelCNN((1, SIZE, SIZE), width=64), rows)
    for model in ("pixelcnn", "gated_pixelcnn"):
        single = step(model, "hardware=cpu", "hardware.memory_format=contiguous_format")
        chosen = step(model)
        print(f"{model}, a training step, batch 64: {1000 * chosen:.0f} ms, single precision and default layout {1000 * single:.0f} ms: "
              f"{chosen / single:.3f} of it")  # fmt: skip


if __name__ == "__main__":
    main()

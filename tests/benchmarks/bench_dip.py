"""The deep image prior at 256x256 under `calotype`, against the published loop said again in plain PyTorch.

The plain loop has the published network (128 channels, 2.2 million parameters) in single precision and the default layout, and does what
the published one does in every iteration: noise on the input, the running average, three PSNRs in NumPy, a copy of all weights to go
back to when the PSNR falls.

    .venv/bin/python tests/benchmarks/bench_dip.py                    seconds an iteration, in turn, of the same and the narrow network
    .venv/bin/python tests/benchmarks/bench_dip.py race FILE [SHRINK] time until a fit is as good as the plain loop ever was

FILE is a square colour image, which is averaged over squares of SHRINK (2) pixels. One fit of `dip/denoise` that sees every pixel runs
for 2500 iterations, then the plain loop until 200 iterations after its best. Both go by the PSNR of their running average.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
from pytorch_lightning import Callback
from torch import nn

import calotype
from calotype.datasets.image_file import read_image
from calotype.models.hourglass import Hourglass
from calotype.tasks.dip import CURVES

ROUNDS = 3
RACE = 2500  # iterations


class Clock(Callback):
    """The moments at which iterations ended."""

    ends: list[float] = []  # noqa: RUF012

    def on_train_batch_start(self, *_: object) -> None:
        self.ends or self.ends.append(time.perf_counter())

    def on_train_batch_end(self, *_: object) -> None:
        self.ends.append(time.perf_counter())


def framework(*options: str) -> tuple[list[float], Any]:
    """Seconds since the first iteration began at the end of each, and the module."""
    Clock.ends = []
    common = ["data.shrink=2", "logger=none", "~callbacks.pictures", "+callbacks.clock._target_=__main__.Clock"]
    with tempfile.TemporaryDirectory() as folder:
        result = calotype.run(["experiment=dip/denoise", *common, f"hydra.run.dir={folder}/run", *options])
    return [end - Clock.ends[0] for end in Clock.ends[1:]], result.module


def plain(photo: np.ndarray, iterations: int | None = None, *, shrink: int = 2) -> tuple[list[float], list[float]]:
    """Seconds at the end of each iteration, and the PSNR of the running average there; until 200 after the best by default."""
    torch.manual_seed(0)
    side = len(photo) // shrink
    clean = photo.reshape(side, shrink, side, shrink, 3).mean((1, 3)) / 255
    noisy = (clean + np.random.default_rng(0).normal(0, 25 / 255, clean.shape)).clip(0, 1)
    clean, noisy = (x.transpose(2, 0, 1).astype(np.float32) for x in (clean, noisy))
    observed = torch.from_numpy(noisy)[None]
    network = Hourglass((3, side, side))
    saved, noise = network.latent.clone(), network.latent.clone()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    average = None
    weights: list[torch.Tensor] = []
    seconds, found = [], []

    def decibels(a: np.ndarray, b: np.ndarray) -> float:
        return float(10 * np.log10(1 / np.mean((a - b) ** 2)))

    start = time.perf_counter()
    while not found or len(found) < (iterations or found.index(max(found)) + 200):
        optimizer.zero_grad()
        output = network(saved + noise.normal_() / 30)
        average = output.detach() if average is None else average * 0.99 + output.detach() * 0.01
        loss = nn.functional.mse_loss(output, observed)
        loss.backward()
        shown = output.detach().numpy()[0]
        decibels(noisy, shown), decibels(clean, shown)
        found.append(decibels(clean, average.numpy()[0]))
        weights = [p.detach().cpu().clone() for p in network.parameters()]
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        if len(found) % 100 == 0:
            print(f"plain loop, {len(found)} iterations, {seconds[-1]:.0f} s: {found[-1]:.2f} dB", flush=True)
    assert weights
    return seconds, found


def iteration() -> None:
    count = 6
    photo = skimage.data.astronaut()
    options = [f"task.iterations={count}", "task/stop=fixed"]
    ours, theirs = [], []
    for _ in range(ROUNDS):
        theirs += np.diff(plain(photo, count)[0]).tolist()
        ours += np.diff(framework(*options, "model=dip/hourglass")[0]).tolist()
    narrow = np.diff(framework(*options)[0]).tolist()
    a, b, c = (statistics.median(seconds) for seconds in (ours, theirs, narrow))
    print(f"deep image prior, 256x256, an iteration: calotype {a:.3f} s, published loop {b:.3f} s, ratio {a / b:.3f}")
    print(f"light network (model=dip/hourglass_light): {c:.3f} s, ratio {c / b:.3f}")


def race(file: Path, shrink: int) -> None:
    options = ["task/stop=fixed", "task.runs=1", f"task.iterations={RACE}", f"dataset.clean={file}", f"data.shrink={shrink}"]
    seconds, module = framework(*options)
    ours = module.progress["curves"][0, :, CURVES.index("psnr_average")]
    print(f"dip/denoise, one fit: {ours.max():.2f} dB at best, after {int(ours.argmax()) + 1} iterations", flush=True)
    times, theirs = plain(read_image(file, 3).permute(1, 2, 0).numpy(), shrink=shrink)
    best = max(theirs)
    at = times[theirs.index(best)]
    print(f"plain loop: {best:.2f} dB at best, after {theirs.index(best) + 1} iterations, {at:.0f} s")
    reached = (ours >= best).nonzero()
    if len(reached):
        taken = seconds[reached[0].item()]
        print(f"dip/denoise: as good after {reached[0].item() + 1} iterations, {taken:.0f} s, {taken / at:.3f} of the time")
    else:
        print("dip/denoise: never as good")


if __name__ == "__main__":
    if sys.argv[1:2] == ["race"]:
        race(Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 2)
    else:
        iteration()

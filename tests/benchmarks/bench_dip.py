"""An iteration of the deep image prior at 256x256 under `calotype`, against the published loop said again in plain PyTorch.

The plain loop has the same network (128 channels, 2.2 million parameters) in single precision and the default layout, and does what
the published one does in every iteration: noise on the input, the running average, three PSNRs in NumPy, a copy of all weights to go
back to when the PSNR falls. Prints seconds an iteration of both, in turn, and the ratio of the medians; then the narrow network's.

    .venv/bin/python tests/benchmarks/bench_dip.py [iterations]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time

import numpy as np
import skimage.data
import torch
from pytorch_lightning import Callback
from torch import nn

import calotype
from calotype.models.hourglass import Hourglass

ROUNDS = 3


class Clock(Callback):
    """The moments at which iterations ended."""

    ends: list[float] = []  # noqa: RUF012

    def on_train_batch_end(self, *_: object) -> None:
        self.ends.append(time.perf_counter())


def framework(iterations: int, *options: str) -> list[float]:
    Clock.ends = []
    with tempfile.TemporaryDirectory() as folder:
        calotype.run(
            [
                "experiment=dip/denoise",
                "data.shrink=2",
                f"task.iterations={iterations + 1}",
                "task/stop=fixed",
                "logger=none",
                "~callbacks.pictures",
                "+callbacks.clock._target_=__main__.Clock",
                f"hydra.run.dir={folder}/run",
                *options,
            ]
        )
    return np.diff(Clock.ends).tolist()


def plain(iterations: int) -> list[float]:
    torch.manual_seed(0)
    clean = skimage.data.astronaut().reshape(256, 2, 256, 2, 3).mean((1, 3)) / 255
    noisy = (clean + np.random.default_rng(0).normal(0, 25 / 255, clean.shape)).clip(0, 1)
    clean, noisy = (x.transpose(2, 0, 1).astype(np.float32) for x in (clean, noisy))
    observed = torch.from_numpy(noisy)[None]
    network = Hourglass((3, 256, 256))
    saved, noise = network.latent.clone(), network.latent.clone()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    average = None
    weights: list[torch.Tensor] = []
    seconds = []

    def decibels(a: np.ndarray, b: np.ndarray) -> float:
        return float(10 * np.log10(1 / np.mean((a - b) ** 2)))

    for _ in range(iterations + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        output = network(saved + noise.normal_() / 30)
        average = output.detach() if average is None else average * 0.99 + output.detach() * 0.01
        loss = nn.functional.mse_loss(output, observed)
        loss.backward()
        shown = output.detach().numpy()[0]
        decibels(noisy, shown), decibels(clean, shown), decibels(clean, average.numpy()[0])
        weights = [p.detach().cpu().clone() for p in network.parameters()]
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    assert weights
    return seconds[1:]


def main() -> None:
    iterations = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    ours, theirs = [], []
    for _ in range(ROUNDS):
        theirs += plain(iterations)
        ours += framework(iterations)
    narrow = framework(iterations, "model=dip/hourglass_narrow")
    a, b, c = (statistics.median(seconds) for seconds in (ours, theirs, narrow))
    print(f"deep image prior, 256x256, an iteration: calotype {a:.3f} s, published loop {b:.3f} s, ratio {a / b:.3f}")
    print(f"narrow network (model=dip/hourglass_narrow): {c:.3f} s, ratio {c / b:.3f}")


if __name__ == "__main__":
    main()

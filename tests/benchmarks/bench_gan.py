"""A training step of `experiment=gan/mnist` (28x28, batch 128, one step of either network) against a bare PyTorch loop that does the same.

Prints milliseconds of both in bfloat16 and channels_last, in turn, and the ratio of the medians; then the framework against itself
in single precision and the default layout. Same data, networks, loss, optimizers, running average; the bare loop reads both losses every
tenth step, as the framework logs them.

    .venv/bin/python tests/benchmarks/bench_gan.py
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time

import torch
from clock import Clock
from torch.nn import functional as F

import calotype
from calotype.data.sampler import EpochSampler
from calotype.datasets.characters import digits
from calotype.models.dcgan import DCGAN
from calotype.tasks.averaging import follow

STEPS, ROUNDS = 13, 5


def framework(precision: str, layout: str) -> list[float]:
    Clock.seconds = []
    with tempfile.TemporaryDirectory() as folder:
        calotype.run(
            [
                "experiment=gan/mnist",
                "dataset=digits",
                "data.preprocess.size=28",
                "data.val_fraction=0",
                "data.test_fraction=0",
                "task.classifier=null",
                "logger=none",
                "~callbacks.pictures",
                f"hardware.precision={precision}",
                f"hardware.memory_format={layout}",
                f"trainer.max_epochs={ROUNDS + 1}",
                f"trainer.limit_train_batches={STEPS}",
                "+callbacks.clock._target_=clock.Clock",
                f"hydra.run.dir={folder}/run",
            ]
        )
    return [s / STEPS for s in Clock.seconds[1:]]


def bare() -> list[float]:
    source = digits()
    images = F.interpolate(source.items.float(), (28, 28), mode="bilinear").to(torch.uint8)
    torch.manual_seed(0)
    model = DCGAN((1, 28, 28), width=32).to(memory_format=torch.channels_last)
    generator, discriminator = model.generator, model.discriminator
    average = copy.deepcopy(generator)
    g, d = (torch.optim.Adam(network.parameters(), lr=8e-4, betas=(0.5, 0.999)) for network in (generator, discriminator))
    sampler = EpochSampler(range(len(images)), batch_size=128, train=True)
    seconds = []
    count = 0
    for epoch in range(ROUNDS + 1):
        sampler.set_epoch(epoch)
        start = time.perf_counter()
        for step, index in enumerate(sampler):
            if step == STEPS:
                break
            real = images[index].float().div_(255)
            with torch.autocast("cpu", torch.bfloat16):
                with torch.no_grad():
                    made = generator(torch.randn(len(real), 128))
                d_loss = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(made)).mean()
            d.zero_grad()
            d_loss.backward()
            d.step()
            discriminator.requires_grad_(False)
            with torch.autocast("cpu", torch.bfloat16):
                g_loss = F.softplus(-discriminator(generator(torch.randn(len(real), 128)))).mean()
            g.zero_grad()
            g_loss.backward()
            g.step()
            discriminator.requires_grad_(True)
            count += 1
            follow(average, generator, 0.999, count)
            if step % 10 == 9:
                d_loss.item(), g_loss.item()
        seconds.append(time.perf_counter() - start)
    return [s / STEPS for s in seconds[1:]]


def main() -> None:
    ours, theirs, single = [], [], []
    for _ in range(2):
        theirs += bare()
        ours += framework("bf16-mixed", "channels_last")
        single += framework("32-true", "contiguous_format")
    a, b, c = (1000 * statistics.median(seconds) for seconds in (ours, theirs, single))
    print(f"GAN, 28x28, batch 128, a step: calotype {a:.1f} ms, bare loop {b:.1f} ms, ratio {a / b:.3f}")
    print(f"single precision, default layout: {c:.1f} ms; bfloat16, channels_last: {a / c:.3f} of it")


if __name__ == "__main__":
    main()

"""A training step of face_cnn, batch 64, under `calotype` against a bare PyTorch loop that does the same.

Prints milliseconds a step of both, in turn and each in its own order, and the ratio of the medians. Same data, network, loss,
optimizer, precision; the bare loop slices batches, converts to float, goes forward and back, steps, and reads the loss
every tenth step, as the framework logs it.

    .venv/bin/python tests/benchmarks/bench_step.py [32-true | bf16-mixed]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time

import torch
from clock import Clock

import calotype
from calotype.data.sampler import EpochSampler
from calotype.datasets.synthetic_faces import synthetic_faces
from calotype.models.face_cnn import FaceCNN

STEPS, ROUNDS = 12, 7


def framework(precision: str) -> list[float]:
    Clock.seconds = []
    with tempfile.TemporaryDirectory() as folder:
        calotype.run(
            [
                "dataset=synthetic_faces",
                "dataset.size=128",
                "dataset.num_identities=20",
                "dataset.images_per_identity=60",
                "data.preprocess.colour=grey",
                "data.augment=null",
                "model=face_cnn",
                "scheduler=none",
                "logger=none",
                "data.val_fraction=0",
                "data.test_fraction=0",
                f"hardware.precision={precision}",
                f"trainer.max_epochs={ROUNDS + 1}",
                f"trainer.limit_train_batches={STEPS}",
                "+callbacks.clock._target_=clock.Clock",
                f"hydra.run.dir={folder}/run",
            ]
        )
    return [s / STEPS for s in Clock.seconds[1:]]


def bare(precision: str) -> list[float]:
    source = synthetic_faces(num_identities=20, images_per_identity=60, size=128)
    images, labels = source.items.float().mean(1, keepdim=True).to(torch.uint8), source.labels
    torch.manual_seed(0)
    model = FaceCNN((1, 128, 128), 20).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    sampler = EpochSampler(range(len(images)), batch_size=64, train=True)
    seconds = []
    for epoch in range(ROUNDS + 1):
        sampler.set_epoch(epoch)
        start = time.perf_counter()
        for step, index in enumerate(sampler):
            if step == STEPS:
                break
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = torch.nn.functional.cross_entropy(model(images[index].float().div_(255)).float(), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 10 == 9:
                loss.item()
        seconds.append(time.perf_counter() - start)
    return [s / STEPS for s in seconds[1:]]


def main() -> None:
    precision = sys.argv[1] if len(sys.argv) > 1 else "32-true"
    ours, theirs = [], []
    for first, second in ((framework, bare), (bare, framework)):  # each goes first once
        for side in (first, second):
            (ours if side is framework else theirs).extend(side(precision))
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"face_cnn step, batch 64, {precision}: calotype {a * 1e3:.1f} ms, bare PyTorch {b * 1e3:.1f} ms, ratio {a / b:.3f}")


if __name__ == "__main__":
    main()

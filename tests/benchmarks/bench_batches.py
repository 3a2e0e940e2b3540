"""Batches of MNIST, augmentation off, against torchvision's MNIST in a DataLoader: images a second.

Both give float batches of 64 in [0, 1], shuffled, with labels, all 60000 once a round, in turn. The files have MNIST's format and
size and hold noise: what is in the pixels makes no difference.

    .venv/bin/python tests/benchmarks/bench_batches.py
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torchvision
from torch.utils.data import DataLoader
from torchvision.transforms import ToTensor

from calotype.data.labelled import Labelled
from calotype.data.preprocess import Preprocess
from calotype.datasets.characters import mnist

ROUNDS = 3


def write_files(root: Path) -> None:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.RandomState(0)
    for part, n in (("train", 60000), ("t10k", 10000)):
        images, labels = rng.randint(0, 256, (n, 28, 28), dtype=np.uint8), rng.randint(0, 10, n).astype(np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(np.array([0x803, n, 28, 28], ">i4").tobytes() + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(np.array([0x801, n], ">i4").tobytes() + labels.tobytes())


def images_a_second(batches: Callable[[], Iterable]) -> float:
    start = time.perf_counter()
    count = sum(len(batch[0]) for batch in batches())
    return count / (time.perf_counter() - start)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_files(root)
        data = Labelled(dataset=mnist(str(root), download=False), preprocess=Preprocess(), batch_size=64, val_fraction=0)
        data.setup("fit")
        theirs = torchvision.datasets.MNIST(root, train=True, transform=ToTensor())
        sides = {
            "calotype": lambda: (data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()),
            "torchvision, 0 workers": lambda: DataLoader(theirs, batch_size=64, shuffle=True),
            "torchvision, 2 workers": lambda: DataLoader(theirs, batch_size=64, shuffle=True, num_workers=2),
        }
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, batches in sides.items():
                rates[name].append(images_a_second(batches))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in medians.items():
        print(f"MNIST batches, {name}: {rate:,.0f} images/s, calotype is {medians['calotype'] / rate:.1f} times as fast")


if __name__ == "__main__":
    main()

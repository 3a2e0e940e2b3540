"""Mining and loss, forward and backward, against pytorch-metric-learning's miner with its loss: time and peak memory.

python tests/benchmarks/bench_triplet.py

Both compute the same number: TripletMarginLoss over LpDistance(power=2), mined by TripletMarginMiner(type_of_triplets="semihard")
or BatchHardMiner, on unit vectors of 256 identities x 4 images. Times alternate in one process; memory is each one's own
process (Linux), its highest resident size less that before the first of three calls.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

BATCH, DIMENSIONS, IMAGES, MARGIN, ROUNDS = 1024, 128, 4, 0.2, 9


def ours(mining: str) -> Callable[[Tensor, Tensor], Tensor]:
    from calotype.losses.triplet import Triplet

    return Triplet(margin=MARGIN, mining=mining)  # type: ignore[arg-type]


def theirs(mining: str) -> Callable[[Tensor, Tensor], Tensor]:
    from pytorch_metric_learning import distances, losses, miners, reducers

    distance = distances.LpDistance(power=2, normalize_embeddings=False)
    if mining == "semi_hard":
        miner = miners.TripletMarginMiner(margin=MARGIN, type_of_triplets="semihard", distance=distance)
        loss = losses.TripletMarginLoss(margin=MARGIN, distance=distance)
    else:
        miner = miners.BatchHardMiner(distance=distance)
        loss = losses.TripletMarginLoss(margin=MARGIN, distance=distance, reducer=reducers.MeanReducer())
    return lambda embeddings, labels: loss(embeddings, labels, miner(embeddings, labels))


def step(compute: Callable[[Tensor, Tensor], Tensor], embeddings: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    embeddings.grad = None
    start = time.perf_counter()
    value = compute(embeddings, labels)
    value.backward()
    return time.perf_counter() - start, value.detach()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(BATCH) // IMAGES
    centres = torch.randn(BATCH // IMAGES, DIMENSIONS, generator=generator)
    embeddings = F.normalize(centres[labels] + torch.randn(BATCH, DIMENSIONS, generator=generator))
    return embeddings.requires_grad_(), labels


def peak(which: str, mining: str) -> None:
    """In a process of its own: kilobytes that the first three calls took."""
    compute = {"ours": ours, "theirs": theirs}[which](mining)
    small, labels = F.normalize(torch.randn(16, DIMENSIONS)).requires_grad_(), torch.arange(16) // 2
    step(compute, small, labels)  # what libraries load at the first call
    embeddings, labels = batch()
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident size starts anew
    before = resident("VmRSS")
    for _ in range(3):
        step(compute, embeddings, labels)
    print(resident("VmHWM") - before)


def resident(field: str) -> int:
    """Kilobytes, of Linux's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field)))


def main() -> None:
    embeddings, labels = batch()
    for mining in ("semi_hard", "batch_hard"):
        both = {"ours": ours(mining), "theirs": theirs(mining)}
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        values = {}
        for i in range(ROUNDS + 2):
            for name, compute in both.items():
                seconds, values[name] = step(compute, embeddings, labels)
                if i > 1:
                    times[name].append(seconds)
        assert torch.allclose(values["ours"], values["theirs"], rtol=1e-3), values
        medians = {name: statistics.median(t) * 1000 for name, t in times.items()}
        memory = {
            name: int(subprocess.run([sys.executable, __file__, name, mining], check=True, capture_output=True, text=True).stdout) / 1024
            for name in both
        }
        print(
            f"{mining}: {medians['ours']:.1f} ms against {medians['theirs']:.1f} ms, "
            f"{medians['theirs'] / medians['ours']:.1f} times as fast; "
            f"peak memory {memory['ours']:.0f} MB against {memory['theirs']:.0f} MB, {memory['ours'] / memory['theirs']:.3f} of it"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        peak(sys.argv[1], sys.argv[2])
    else:
        main()

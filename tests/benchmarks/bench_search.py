"""A probe against 1,000,000 enrolled templates of 128 numbers: milliseconds, by torch and (where it is installed) by FAISS.

python tests/benchmarks/bench_search.py
"""

from __future__ import annotations

import statistics
import time

import torch
from torch.nn import functional as F

from calotype.gallery import NearestTemplates

TEMPLATES, DIMENSIONS, PROBES = 1_000_000, 128, 30


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    templates = F.normalize(torch.randn(TEMPLATES, DIMENSIONS, generator=generator))
    probes = F.normalize(templates[torch.randperm(TEMPLATES, generator=generator)[:PROBES]] + 0.02 * torch.randn(PROBES, DIMENSIONS))
    answers = []
    for name, exact in (("torch", 2 * TEMPLATES), ("faiss", 0)):
        search = NearestTemplates(templates, exact=exact)
        if name == "faiss" and search.index is None:
            print("faiss: not installed")
            continue
        search(probes[:2])
        times = []
        found = []
        for probe in probes:
            start = time.perf_counter()
            found.append(search(probe[None])[1])
            times.append((time.perf_counter() - start) * 1000)
        answers.append(torch.cat(found))
        print(f"{name}: median {statistics.median(times):.1f} ms a probe, slowest of {PROBES} {max(times):.1f} ms")
    assert all(torch.equal(answers[0], other) for other in answers)


if __name__ == "__main__":
    main()

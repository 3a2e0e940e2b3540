"""Seconds until `calotype` has answered: help, the composed config, a typo. Median of whole processes.

.venv/bin/python tests/benchmarks/bench_startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 7


def main() -> None:
    for arguments in (["--help"], ["--cfg", "job"], ["loss.label_smothing=0.1"], ["seed=abc"]):
        seconds = []
        for _ in range(RUNS):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "calotype.cli", *arguments], capture_output=True)
            seconds.append(time.perf_counter() - start)
        shown = f"median {statistics.median(seconds):.2f} s, {min(seconds):.2f} to {max(seconds):.2f}"
        print(f"calotype {' '.join(arguments)}: {shown}")


if __name__ == "__main__":
    main()

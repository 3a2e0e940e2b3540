"""Runs every task that trains in batches on two processes, by `hardware=ddp_cpu`, and says how each ended.

    python tests/protocols/two_processes.py
    python tests/protocols/two_processes.py --tasks gan cgan

Every task has its default configuration, on data that comes with the packages; only the length of training is reduced
(see `COMMANDS` in kill_and_resume.py). Each run is a command of its own, as a user starts it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from protocols.kill_and_resume import COMMANDS

ONE_PICTURE = ("dip", "style_transfer", "visualise", "efros_leung")  # nothing to share out among processes
MORE = {"facenet": ["dataset.num_identities=40"]}  # 8 identities in the batch of each process
BATCHES = [task for task in COMMANDS if task not in ONE_PICTURE]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=BATCHES, choices=BATCHES)
    options = parser.parse_args()

    failed = 0
    for task in options.tasks:
        with tempfile.TemporaryDirectory(prefix=f"two-{task}-") as root:
            command = [sys.executable, "-m", "calotype.cli", f"task={task}", *COMMANDS[task], *MORE.get(task, [])]
            began = time.perf_counter()
            done = subprocess.run(
                [*command, "hardware=ddp_cpu", "hydra.run.dir=run"],
                cwd=root, capture_output=True, text=True, check=False,
            )  # fmt: skip
            seconds = time.perf_counter() - began

            record = Path(root, "run", "run.json")
            told = json.loads(record.read_text()) if record.is_file() else {}
            processes = told.get("hardware", {}).get("processes")
            right = (done.returncode, told.get("status"), processes) == (0, "finished", 2)
            failed += not right
            print(
                f"{task:15} exit {done.returncode}  {told.get('status')}  {processes} processes  {seconds:.0f} s",
                flush=True,
            )
            if not right:
                print(done.stderr[-3000:], flush=True)
    print(f"{failed} of {len(options.tasks)} runs failed", flush=True)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

"""Takes finished runs into experiments/: a JSON file of evidence each, and the table of README.md made from these files.

python experiments/record.py RUN...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
START, END = "<!-- table: made by record.py -->", "<!-- end of table -->"
SHOWN = ("test/accuracy", "test/balanced_accuracy", "test/average_precision", "test/tpr_at_fpr_1e-2", "val/accuracy")
KEPT = ("name", "seed", "config_hash", "split_hash", "wall_seconds", "git_commit", "git_dirty", "versions", "hardware")


def record(run: Path) -> Path:
    """Write the evidence of a finished run, without anything that is of this machine's folders or name."""
    told = json.loads((run / "run.json").read_text())
    if told["status"] != "finished":
        raise SystemExit(f"{run}: {told['status']}, not finished")
    overrides = told["overrides"]
    label = next((o.partition("=")[2] for o in overrides if o.startswith("experiment=")), told["task"] + "/default")
    extra = "".join(f"__{o.replace('/', '.').replace('=', '-')}" for o in overrides if not o.startswith("experiment="))
    evidence = {
        "command": " ".join(["calotype", *overrides]),
        **{key: told[key] for key in KEPT},
        "metrics": json.loads((run / "metrics.json").read_text()),
    }
    path = HERE / f"{label}{extra}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(evidence, indent=1) + "\n")
    return path


def table() -> str:
    """Markdown of all evidence below this folder."""
    head = ["command", *SHOWN, "seed", "wall s", "precision"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for path in sorted(HERE.glob("*/*.json")):
        evidence: dict[str, Any] = json.loads(path.read_text())
        figures = [evidence["metrics"].get(name) for name in SHOWN]
        # Cut, not rounded: a figure never looks better than it is.
        cells = ["" if value is None else f"{int(value * 10000) / 10000:.4f}" for value in figures]
        row = [
            f"`{evidence['command']}`",
            *cells,
            str(evidence["seed"]),
            f"{evidence['wall_seconds']:.0f}",
            evidence["hardware"]["precision"],
        ]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main() -> None:
    for run in sys.argv[1:]:
        print(record(Path(run)))
    readme = HERE / "README.md"
    before, _, rest = readme.read_text().partition(START)
    readme.write_text(f"{before}{START}\n{table()}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()

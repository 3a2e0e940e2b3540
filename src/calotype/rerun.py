"""Runs a finished run again and compares its figures to the last bit."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from calotype.run_folder import read_json, shown
from calotype.runner import launch, load_config
from calotype.types import UserError


def rerun(run_dir: Path, out: Path | None = None) -> bool:
    """Print each figure that differs, and what else does; True where all are the same.

    Raises:
        UserError: there is no finished run in `run_dir`.
    """
    record = read_json(run_dir / "run.json")
    if record.get("status") != "finished":
        raise UserError(f"{run_dir}: the run is {record.get('status')}, not finished; there is nothing to compare with")
    before = read_json(run_dir / "metrics.json")
    cfg = load_config(run_dir)
    # Not beside the old one, where a table of a sweep would take it for one of its runs.
    out = out or Path(cfg.paths.output_dir) / "reruns" / f"{datetime.now():%Y-%m-%d_%H-%M-%S_%f}-{record['config_hash']}"
    result = launch(cfg, out, overrides=record.get("overrides", []), choices=record.get("choices"))
    names = sorted({*before, *result.metrics})
    different = [name for name in names if before.get(name) != result.metrics.get(name)]
    for name in different:
        print(f"differs  {name}: {before.get(name)!r} before, {result.metrics.get(name)!r} now")
    if different:
        for line in _other_differences(record, read_json(result.run_dir / "run.json")):
            print(f"differs  {line}")
    print(f"{len(names) - len(different)} of {len(names)} figures are the same to the last bit; run folder {shown(result.run_dir)}")
    return not different


def _other_differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    lines = [
        f"{key}: {before.get(key)} before, {now.get(key)} now"
        for key in ("git_commit", "git_dirty", "split_hash", "data_hash")
        if before.get(key) != now.get(key)
    ]
    for part in ("versions", "hardware"):
        old, new = before.get(part) or {}, now.get(part) or {}
        lines += [f"{key}: {old.get(key)} before, {new.get(key)} now" for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return lines

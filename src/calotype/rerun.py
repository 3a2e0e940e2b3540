"""Runs a finished run again and compares its metrics to the last bit."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from calotype.compose import directory_of, load_config
from calotype.console import echo
from calotype.places import expanded
from calotype.records import read_metrics, read_record
from calotype.run_folder import shown
from calotype.runner import confined, launch
from calotype.schema import config_hash
from calotype.trust import trusting
from calotype.types import UserError


def rerun(run_dir: Path, out: Path | None = None, *, trust: bool = False) -> bool:
    """Print each metric that differs, and what else does; True where all are the same.

    Metrics are compared to the last bit. Times are no metrics: they stand in run.json.

    Args:
        run_dir: of the finished run.
        out: folder of the new one; by default below outputs/reruns.
        trust: its config may name any code, which is executed.

    Raises:
        UserError: there is no finished run in `run_dir`.
    """
    run_dir = expanded(run_dir).resolve()
    record = read_record(run_dir)
    if record.get("status") != "finished":
        raise UserError(f"{run_dir}: the run is {record.get('status')}, not finished; there is nothing to compare with")
    if record.get("parent"):
        raise UserError(f"{run_dir}: it goes on from {record['parent']}, so no command repeats it from its start")
    before = read_metrics(run_dir)

    out = None if out is None else expanded(out).resolve()
    here = Path.cwd()
    with directory_of(record), trusting(trust):
        cfg = confined(load_config(run_dir), run_dir, here)
        # Not next to the old one, where a table of a sweep would take it for one of its runs.
        name = f"{datetime.now():%Y-%m-%d_%H-%M-%S_%f}-{config_hash(cfg)}"
        out = out or Path(cfg.paths.output_dir) / "reruns" / name
        result = launch(cfg, out, overrides=record.get("overrides", []), choices=record.get("choices"))

    now = result.metrics
    names = sorted({*before, *now})
    different = [name for name in names if before.get(name) != now.get(name)]
    for name in different:
        echo(f"differs  {name}: {before.get(name)!r} before, {now.get(name)!r} now")
    if different:
        for line in _other_differences(record, read_record(result.run_dir)):
            echo(f"differs  {line}")
    same = len(names) - len(different)
    echo(f"{same} of {len(names)} metrics are the same to the last bit; run folder {shown(result.run_dir)}")
    return not different


def _other_differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    lines = [
        f"{key}: {before.get(key)} before, {now.get(key)} now"
        for key in ("git_commit", "git_dirty", "split_hash", "data_hash")
        if before.get(key) != now.get(key)
    ]
    pairs = [(before.get("hardware") or {}, now.get("hardware") or {}), _packages_of_both(before, now)]
    for old, new in pairs:
        lines += [f"{key}: {old.get(key)} before, {new.get(key)} now" for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    lines += [
        f"{one['key']}: changed from {one['before']} to {one['now']} at step {one['step']} of the run, and {one['now']} from the start now"
        for one in before.get("changes") or []
    ]
    old, new = before.get("user_code") or {}, now.get("user_code") or {}
    lines += [
        f"code of {name}: {old.get(name)} before, {new.get(name)} now" for name in sorted({*old, *new}) if old.get(name) != new.get(name)
    ]
    return lines


def _packages_of_both(before: dict[str, Any], now: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Return Python's and the packages' versions of two runs, as far as both records list them."""
    old, new = before.get("versions") or {}, now.get("versions") or {}

    # Runs of earlier versions list their main packages only: the others are unknown, not absent.
    if before.get("distributions"):
        return {**old, **before["distributions"]}, {**new, **(now.get("distributions") or {})}
    return old, new

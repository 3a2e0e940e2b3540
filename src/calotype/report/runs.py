"""The runs below some folders, and which of them are the same but for the seed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calotype.config_file import read_config
from calotype.records import SWEEP, read_metrics, read_record, read_sweep
from calotype.report.curves import read_curves
from calotype.run_folder import has_begun, was_cut_off
from calotype.schema import flat
from calotype.types import UserError

Plain = dict[str, Any]
NEUTRAL = ("logger", "name", "resume", "dry_run", "trust", "retry", "fail_fast", "paths", "seed")  # of a config: what is no setting
SLACK = 4  # settings that are named where overrides do not tell two rows apart


@dataclass(frozen=True)
class Run:
    """A run folder: `run.json`, `config.yaml`, and the figures of `metrics.json` where it is finished."""

    folder: Path
    record: Plain
    config: Plain
    metrics: dict[str, float | None]

    @property
    def task(self) -> str:
        return str(self.record["task"])

    @property
    def seed(self) -> int:
        return int(self.record["seed"])

    @property
    def status(self) -> str:
        """As it was noted; of a run that was cut off without a word, interrupted."""
        status = str(self.record["status"])
        return "interrupted" if was_cut_off(self.record, self.folder) else status

    @property
    def finished(self) -> bool:
        return self.status == "finished"


@dataclass
class Row:
    """Runs that differ in nothing but the seed.

    Attributes:
        settings: what tells it from the other rows: key to value, as typed or as resolved.
        runs: one a seed, finished ones alone, by seed.
        notes: seeds that are missing, failed or there twice.
    """

    settings: dict[str, str]
    runs: list[Run]
    notes: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.settings.items() if value) or "all runs"

    def figures(self, metric: str) -> dict[int, float]:
        """Of each seed that has it."""
        return {run.seed: value for run in self.runs if (value := run.metrics.get(metric)) is not None}


def find_runs(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """All runs below `paths`, and a line for each that cannot be read.

    Raises:
        UserError: a path is missing, or none of them holds a run.
    """
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such folder")
    found = {folder.resolve(): folder for path in paths for folder in _folders_below(path)}
    folders = sorted(folder for folder in found.values() if has_begun(folder))
    if not folders:
        raise UserError(f"{', '.join(map(str, paths))}: no run below it (a run folder holds run.json); calotype makes them in outputs/")
    runs, damaged = [], []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except UserError as error:
            damaged.append(str(error))
    return runs, damaged


def _folders_below(path: Path) -> Iterator[Path]:
    """Yield all folders with something called run.json, be it a link that leads nowhere."""
    for folder, folders, files in os.walk(path):
        if "run.json" in files or "run.json" in folders:
            yield Path(folder)


def not_begun(paths: Sequence[Path]) -> list[str]:
    """A line for each sweep below `paths` that has jobs without a run."""
    told = []
    for note in sorted({found.resolve(): found for path in paths for found in path.rglob(SWEEP)}.values()):
        with contextlib.suppress(UserError):
            jobs = read_sweep(note.parent).get("folders", [])
            waiting = sum(not has_begun(note.parent / job) for job in jobs)
            if waiting:
                told.append(f"{note.parent}: {waiting} of the sweep's {len(jobs)} jobs have not begun; its command goes on with it")
    return told


def read_run(folder: Path) -> Run:
    """Raises UserError where a file of it is damaged, or of another format."""
    record = read_record(folder)
    for key in ("task", "seed", "status"):
        if key not in record:
            raise UserError(f"{folder / 'run.json'}: damaged (it has no {key})")
    config = read_config(folder / "config.yaml")
    metrics = read_metrics(folder) if record["status"] == "finished" else {}
    read_curves(folder)
    return Run(folder, record, config, metrics)


def by_task(runs: Iterable[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.task, []).append(run)
    return dict(sorted(found.items()))


def with_metrics(tasks: dict[str, list[Run]], metrics: Sequence[str]) -> dict[str, list[Run]]:
    """Those tasks whose runs have one of the metrics at least; all where none are asked for, or nobody has any."""
    having = {task: runs for task, runs in tasks.items() if any(run.metrics.get(name) is not None for run in runs for name in metrics)}
    return having or tasks


def rows(runs: Sequence[Run]) -> list[Row]:
    """Of one task, in the order of their labels. Runs of one folder and name are one study: its rows should have all of its seeds."""
    following = _following(runs)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(neutral(run, following), sort_keys=True), []).append(run)
    seeds: dict[Any, set[int]] = {}
    for run in runs:
        seeds.setdefault(_study(run), set()).add(run.seed)
    made = [Row({}, *_one_a_seed(group, set().union(*(seeds[_study(run)] for run in group)))) for group in groups.values()]
    firsts = [group[0] for group in groups.values()]
    for row, settings in zip(made, _telling(firsts, following), strict=True):
        row.settings = settings
    return sorted(made, key=lambda row: [by_size(value) for value in row.settings.values()])


def _study(run: Run) -> tuple[Path, str]:
    return run.folder.resolve().parent, str(run.config.get("name"))


def neutral(run: Run, following: set[str]) -> Plain:
    """Its settings, `loss.margin` and so on, without what is none; of the keys that follow its seed no value."""
    plain = flat({key: value for key, value in run.config.items() if key not in NEUTRAL})
    return {
        key: None if key in following else value for key, value in plain.items() if not key.endswith(("num_workers", "hardware.timeout"))
    }


def _following(runs: Sequence[Run]) -> set[str]:
    """Keys such as `data.split_seed` that have the value of the run's seed in every run where nobody typed another."""
    found: dict[str, bool] = {}
    for run in runs:
        typed = {key for key, _ in _typed(run)}
        for key, value in flat(run.config).items():
            if key.endswith("seed") and key not in typed:
                found[key] = found.get(key, True) and value == run.seed
    return {key for key, follows in found.items() if follows}


def _one_a_seed(group: list[Run], seeds: set[int]) -> tuple[list[Run], list[str]]:
    """The newest finished run of each seed, and what there is to say of the others."""
    notes = []
    kept = []
    for seed in sorted(seeds):
        runs = sorted((run for run in group if run.seed == seed), key=lambda run: str(run.record.get("start")))
        finished = [run for run in runs if run.finished]
        if finished:
            kept.append(finished[-1])
            if len(finished) > 1:
                notes.append(f"seed {seed}: the newest of {len(finished)} runs")
        else:
            notes.append(f"seed {seed}: {runs[-1].status if runs else 'missing'}")
    return kept, notes


def _telling(runs: Sequence[Run], following: set[str]) -> list[dict[str, str]]:
    """The settings that tell these runs apart: overrides where they do, else what differs in the configs."""
    typed = [dict(_typed(run)) for run in runs]
    leaves = [flat(run.config) for run in runs]
    keys = list(dict.fromkeys(key for overrides in typed for key in overrides))
    chosen = [run.record.get("choices") or {} for run in runs]  # of a group that was not typed, the default
    values = {
        key: [str(t.get(key, leaf.get(key, choices.get(key) or ""))) for t, leaf, choices in zip(typed, leaves, chosen, strict=True)]
        for key in keys
    }
    values = {key: column for key, column in values.items() if len(set(column)) > 1}
    settings = [{key: column[i] for key, column in values.items()} for i in range(len(runs))]
    if len({tuple(one.values()) for one in settings}) < len(settings):
        plain = [neutral(run, following) for run in runs]
        differ = [key for key in sorted({key for one in plain for key in one}) if len({str(one.get(key)) for one in plain}) > 1]
        for one, leaf in zip(settings, plain, strict=True):
            one |= {key: str(leaf.get(key, "")) for key in differ[:SLACK] if key not in one}
    return settings


def _typed(run: Run) -> Iterable[tuple[str, str]]:
    """Key and value of its overrides, without what is no setting."""
    for override in run.record.get("overrides", []):
        key, _, value = str(override).lstrip("+~").partition("=")
        if key.partition(".")[0] not in (*NEUTRAL, "hydra"):
            yield key, value


def by_size(value: str) -> tuple[int, float, str]:
    """Numbers by size, before words."""
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value

"""A sweep: every job is composed and checked before the first one starts, and what is done already is not done again."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from calotype.check import check, tell_hydra
from calotype.run_folder import SWEEP, check_format, git_state, has_begun, is_running, read_json, shown, write_json
from calotype.schema import conf_dir
from calotype.types import UserError
from hydra_plugins.calotype_search.paired_sweeper import paired_jobs

HOW = ("dry_run=", "retry=", "fail_fast=", "hydra.sweep.", "hydra/launcher", "hydra.launcher")  # it is run; the jobs are the same
HASH_LENGTH = 8


def folder_of(overrides: Sequence[str]) -> str:
    """`hydra.sweep.dir` of a command: the same for the same overrides, so that the command goes on where it was cut off."""
    kept = sorted(o for o in overrides if not o.startswith("-") and not o.lstrip("+~").startswith(HOW))
    what = next((o.partition("=")[2] for key in ("experiment", "task") for o in kept if o.startswith(f"{key}=")), study_of(overrides))
    slug = "".join(c if c.isalnum() or c == "_" else "-" for c in what)[:60]
    return f"${{paths.output_dir}}/sweeps/{slug}-{hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:HASH_LENGTH]}"


def study_of(arguments: Sequence[str]) -> str:
    """The name of a study is that of its folder, `--config-dir`."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        option, _, value = argument.partition("=")
        if option in ("-cd", "--config-dir"):
            return Path(value or following).resolve().name
    return "sweep"


def code_hash() -> str:
    """Of the package's files and of its configs."""
    digest = hashlib.sha256()
    for root, kind in ((Path(__file__).parent, "*.py"), (conf_dir(), "*.yaml")):
        for path in sorted(root.rglob(kind)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:HASH_LENGTH]


begun: list[Path] = []  # the folder of this process's sweep, once its first job may start


class CheckEveryJob(Callback):
    """A Hydra callback. A sweeper that draws its jobs as it goes (a search) can not be looked ahead of, and is let pass."""

    def on_multirun_start(self, config: DictConfig, config_name: str | None = None, **kwargs: Any) -> None:
        if str(config.hydra.sweeper._target_).rpartition(".")[2] not in ("BasicSweeper", "PairedSweeper"):
            if config.dry_run:
                print(f"dry run: a search, which draws its settings as it goes; it would run in {config.hydra.sweep.dir}", flush=True)
                raise SystemExit(0)
            return
        try:
            look_ahead(config, config_name)
        except UserError as error:
            # Hydra turns an exception of a callback into a warning, and would start the sweep.
            print(f"calotype: {error}", file=sys.stderr, flush=True)
            raise SystemExit(2) from None
        if config.dry_run:
            raise SystemExit(0)


def look_ahead(config: DictConfig, config_name: str | None) -> None:
    """Compose and check every job, tell the plan; but for a dry run, try the parts of each and note the beginning in the sweep's folder.

    Raises:
        UserError: a job can not work, or what there is of it is damaged.
    """
    sweeper = config.hydra.sweeper
    swept = [f"{key}={value}" for key, value in (sweeper.params or {}).items()] + list(config.hydra.overrides.task)
    if "paired" in sweeper and not sweeper.paired:
        raise UserError("hydra/sweeper=paired: say what goes together, as 'hydra.sweeper.paired=[optimizer.lr,data.batch_size]'")
    jobs = paired_jobs(OverridesParser.create().parse_overrides(swept), sweeper.get("paired") or [])
    folder = Path(config.hydra.sweep.dir)
    states: dict[str, str] = {}
    kinds: set[str] = set()  # folders of single runs of the same kind
    here = str(config.hydra.launcher._target_).rpartition(".")[2] in ("BasicLauncher", "JoblibLauncher")
    specs: dict[str, Any] = {}
    for number, job in enumerate(jobs, 1):
        try:
            cfg = compose(config_name, [*config.hydra.overrides.hydra, *job], return_hydra_config=True)
            check(cfg)
            found = state(folder / cfg.hydra.sweep.subdir)
            if here and not config.dry_run and found != "finished":  # another machine may have what this one has not
                _try_parts(cfg, specs)
        except (UserError, HydraException) as error:
            reason = tell_hydra(error) if isinstance(error, HydraException) else str(error)
            raise UserError(f"job {number} of {len(jobs)} ({' '.join(job)}): {reason}") from None
        if config.dry_run:
            print(f"{found:11}  {' '.join(o for o in job if not o.startswith('dry_run='))}")
        states[cfg.hydra.sweep.subdir] = found
        kinds.add(f"{cfg.paths.output_dir}/{cfg.hydra.runtime.choices.task}/{cfg.name}")
    print(plan(folder, list(states.values()), bool(config.retry), [Path(kind) for kind in sorted(kinds)]), flush=True)
    if config.dry_run:
        return
    note = folder / SWEEP
    told = read_json(note) if note.is_file() else {"code": code_hash(), **git_state()}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(note, {**told, "command": list(config.hydra.overrides.task), "folders": list(states)})
    begun.append(folder)


def _try_parts(cfg: DictConfig, specs: dict[str, Any]) -> None:
    """Build what a job is made of, for the values that only the parts themselves can refuse; jobs that differ in the seed alone once.

    Args:
        specs: of data that were built, by their config, and None for every job that was.

    Raises:
        UserError: a part refuses what it is given.
    """
    plain = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in ("hydra", "seed")]), resolve=False)
    assert isinstance(plain, dict)
    job, data = (json.dumps(part, sort_keys=True, default=str) for part in (plain, [plain["data"], plain["dataset"]]))
    if job in specs:
        return
    from torch import nn

    from calotype.building import build, build_data, build_task
    from calotype.user_errors import as_user_error

    try:
        if data not in specs:
            specs[data] = build_data(cfg).spec
        build_task(cfg, specs[data])
        if cfg.optimizer is not None:
            try:
                build(cfg.optimizer)(nn.Linear(1, 1).parameters())
            except (ValueError, TypeError) as error:
                raise UserError(f"optimizer: {error}") from None
    except Exception as error:
        raise as_user_error(error) or UserError(" ".join(str(error.__cause__ or error).split())) from None
    specs[job] = None


def state(folder: Path) -> str:
    """Of a job: new, finished, failed, running, or interrupted, which is also what a killed one is.

    Raises:
        UserError: what it left is damaged, or of another format.
    """
    if not has_begun(folder):
        return "new"
    record = read_json(folder / "run.json")
    check_format(record, folder / "run.json")
    status = str(record.get("status"))
    if status == "finished":
        try:
            read_json(folder / "metrics.json")
        except UserError as error:
            raise UserError(f"{error}; without the folder {shown(folder)} it is run again") from None
    return "interrupted" if status == "running" and not is_running(record, folder) else status


def plan(folder: Path, states: Sequence[str], retry: bool, kinds: Sequence[Path]) -> str:
    """What is to be done, and how long it takes by earlier runs: the sweep's own, and those in the folders `kinds`."""
    count = {kind: states.count(kind) for kind in ("finished", "interrupted", "failed", "running", "new")}
    words = {
        "finished": "finished",
        "interrupted": "to go on with",
        "failed": "failed and to be run again" if retry else "failed (retry=true runs them again)",
        "running": "running elsewhere",
        "new": "new",
    }
    line = f"sweep of {len(states)} runs in {folder}: " + ", ".join(f"{count[kind]} {word}" for kind, word in words.items() if count[kind])
    ahead = count["new"] + count["interrupted"] + (count["failed"] if retry else 0)
    earlier = [path for root in (folder, *kinds) for path in root.glob("*/run.json")]
    seconds = [value for path in earlier if (value := _seconds(path)) is not None]
    if ahead and seconds:
        total = ahead * sum(seconds) / len(seconds)
        told = f"{total / 60:.1f} minutes" if total >= 60 else f"{total:.0f} seconds"
        line += f"; about {told} one after the other, going by {len(seconds)} earlier runs"
    return line


def changed(folder: Path) -> str | None:
    """What is to be said where the code is no longer that of the sweep's start."""
    note = folder / SWEEP
    if not note.is_file():
        return None
    began = read_json(note)
    if began.get("code") == code_hash():
        return None
    commit = began.get("git_commit") or "unknown"
    return f"the code has changed since this sweep was started ({folder}, commit {commit}): its runs are not alike"


def failures(folder: Path) -> list[tuple[str, str]]:
    """Overrides and error of each failed job of the sweep."""
    found = []
    for name in read_json(folder / SWEEP).get("folders", []) if (folder / SWEEP).is_file() else []:
        try:
            record = read_json(folder / name / "run.json")
        except UserError:
            continue
        if record.get("status") == "failed":
            found.append((" ".join(record.get("overrides", [])), str(record.get("error"))))
    return found


def _seconds(path: Path) -> float | None:
    try:
        record = read_json(path)
    except UserError:
        return None
    return record.get("wall_seconds") if record.get("status") == "finished" else None

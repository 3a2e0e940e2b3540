"""A sweep: every job is composed and checked before the first one starts, and what is done already is not done again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from calotype.check import check, check_folder, check_root, is_of_a_group, refused_keys, tell_hydra
from calotype.closed_pipe import INTERRUPTED
from calotype.console import complain, echo
from calotype.record_types import RUN, check_types
from calotype.records import SWEEP, OtherFormatError, read_json, read_metrics, read_record, read_sweep
from calotype.run_folder import git_state, has_begun, is_running, locked, shown, write_json
from calotype.schema import conf_dir, to_plain
from calotype.types import UserError
from calotype.user_code import code_of, user_packages
from calotype.user_errors import disk_error
from hydra_plugins.calotype_search.paired_sweeper import GridSweeper, paired_jobs

HOW = ("dry_run=", "trust=", "retry=", "fail_fast=", "hydra.sweep.", "hydra/launcher", "hydra.launcher")  # it is run; the jobs are the same
HASH_LENGTH = 8


def folder_of(overrides: Sequence[str]) -> str:
    """`hydra.sweep.dir` of a command: the same for the same overrides, so that the command goes on where it was cut off."""
    kept = sorted(o for o in overrides if not o.startswith("-") and not o.lstrip("+~").startswith(HOW))
    what = next((o.partition("=")[2] for key in ("experiment", "task") for o in kept if o.startswith(f"{key}=")), study_of(overrides))
    slug = "".join(c if c.isalnum() or c == "_" else "-" for c in what)[:60]
    return f"${{expanded:${{paths.output_dir}}}}/sweeps/{slug}-{hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:HASH_LENGTH]}"


def study_of(arguments: Sequence[str]) -> str:
    """The name of a study is that of its folder, `--config-dir`."""
    folder = _option(arguments, "-cd", "--config-dir")
    return Path(folder).resolve().name if folder else "sweep"


def gives_folder(arguments: Sequence[str]) -> bool:
    """Return whether the command, or the file of its study, says where the sweep's folder is."""
    if any(o.lstrip("+").startswith("hydra.sweep.dir=") for o in arguments):
        return True
    study = Path(_option(arguments, "-cd", "--config-dir"), f"{_option(arguments, '-cn', '--config-name')}.yaml")
    try:
        node = yaml.safe_load(study.read_text())
    except (OSError, yaml.YAMLError):
        return False  # which Hydra will tell
    for key in ("hydra", "sweep", "dir"):
        node = node.get(key) if isinstance(node, dict) else None
    return node is not None


def _option(arguments: Sequence[str], short: str, long: str) -> str:
    """The value of an option of Hydra's, or nothing."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        option, _, value = argument.partition("=")
        if option in (short, long):
            return value or following
    return ""


def code_hash(packages: Iterable[str] = ()) -> str:
    """Return a hash of Calotype's files and configs, and of those of a user's packages."""
    digest = hashlib.sha256()
    for root, kind in ((Path(__file__).parent, "*.py"), (conf_dir(), "*.yaml")):
        for path in sorted(root.rglob(kind)):
            digest.update(path.read_bytes())
    for name, value in code_of(packages).items():
        digest.update(f"{name} {value}".encode())
    return digest.hexdigest()[:HASH_LENGTH]


begun: dict[Path, list[str]] = {}  # this process's sweep, once its first job may start: folder, sub-folders of its jobs


class CheckEveryJob(Callback):
    """A Hydra callback. A sweeper that draws its jobs as it goes (a search) can not be looked ahead of, and is let pass."""

    def on_run_start(self, config: DictConfig, config_name: str | None = None, **kwargs: Any) -> None:
        """Refuse a name or folder that would lie elsewhere, before Hydra makes it."""
        with _exits_with_message():
            check_root(config)
            _check_folders(config, "run")
            if params := config.hydra.sweeper.get("params"):
                raise UserError(
                    f"hydra.sweeper.params: its values ({', '.join(map(str, params))}) are of a sweep; add -m, or hydra.mode: MULTIRUN"
                )

    def on_multirun_start(self, config: DictConfig, config_name: str | None = None, **kwargs: Any) -> None:
        with _exits_with_message():
            _check_folders(config, "sweep")
            if config.hydra.launcher.get("n_jobs") == 0:
                raise UserError("hydra.launcher.n_jobs=0: must be a whole number other than 0 (-1: one for each core)")
        command = typed(config)
        _move_params(config)
        sweeper = str(config.hydra.sweeper._target_).rpartition(".")[2]
        if sweeper == "BasicSweeper":  # Hydra's, whose jobs are the same but for how references to other keys are written
            with read_write(config):
                config.hydra.sweeper._target_ = f"{GridSweeper.__module__}.{GridSweeper.__name__}"
        elif sweeper != "PairedSweeper":
            if config.dry_run:
                echo(f"dry run: a search, which draws its settings as it goes; it would run in {config.hydra.sweep.dir}")
                raise SystemExit(0)
            return
        with _exits_with_message():
            look_ahead(config, command)
        if config.dry_run:
            raise SystemExit(0)


@contextlib.contextmanager
def _exits_with_message() -> Iterator[None]:
    """Within it, a user's mistake ends the command with its line: Hydra turns an exception of a callback into a warning."""
    try:
        yield
    except UserError as error:
        complain(str(error))
        raise SystemExit(2) from None
    except BrokenPipeError:  # as in `calotype -m ... | head -1`
        raise SystemExit(INTERRUPTED) from None
    except OSError as error:
        complain(str(disk_error(error) or error))
        raise SystemExit(1) from None
    except Exception:  # Hydra would go on without what was to be done here
        traceback.print_exc()
        raise SystemExit(1) from None


def _check_folders(config: DictConfig, node: str) -> None:
    """Raise ConfigError where `hydra.run` or `hydra.sweep` names an empty folder; what refers to other keys is composed later."""
    folders = OmegaConf.to_container(config.hydra[node], resolve=False)
    assert isinstance(folders, dict)
    for key in ("dir", "subdir"):
        if key in folders:
            check_folder(f"hydra.{node}.{key}", str(folders[key]))


def typed(config: DictConfig) -> list[str]:
    """Return the overrides of a sweep as they were typed: what refers to another key is resolved by each job."""
    overrides = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return [str(one) for one in overrides]


def _move_params(config: DictConfig) -> None:
    """Put the sweeper's `params` among the overrides; from where they stand Hydra would resolve them, once for all jobs."""
    params = config.hydra.sweeper.get("params")
    if not isinstance(params, DictConfig) or not params:
        return
    values = OmegaConf.to_container(params, resolve=False)
    assert isinstance(values, dict)
    with read_write(config), open_dict(config):
        config.hydra.overrides.task = [*(f"{key!s}={value}" for key, value in values.items()), *typed(config)]
        config.hydra.sweeper.params = None


def jobs_of(config: DictConfig) -> list[list[str]]:
    """Return the overrides of each job of a grid."""
    sweeper = config.hydra.sweeper
    if "paired" in sweeper and not sweeper.paired:
        raise UserError("hydra/sweeper=paired: say what goes together, as 'hydra.sweeper.paired=[optimizer.lr,data.batch_size]'")
    parsed = OverridesParser.create().parse_overrides(typed(config))
    jobs = paired_jobs(parsed, sweeper.get("paired") or [])
    if not jobs:
        empty = next(one for one in parsed if one.is_sweep_override() and not list(one.sweep_iterator()))
        raise UserError(f"{empty.input_line}: has no values, so that there is no job")
    return jobs


def look_ahead(config: DictConfig, command: Sequence[str]) -> None:
    """Compose and check every job, tell the plan; but for a dry run, try the parts of each and note the beginning in the sweep's folder.

    Raises:
        UserError: a job can not work, or what there is of it is damaged.
    """
    jobs = jobs_of(config)
    states: dict[Path, dict[str, str]] = {}  # folder, of which a sweep has one where its name does not depend on the job
    kinds: set[str] = set()  # folders of single runs of the same kind
    packages: set[str] = set()
    here = str(config.hydra.launcher._target_).rpartition(".")[2] in ("BasicLauncher", "JoblibLauncher")
    specs: dict[str, Any] = {}
    refused: list[dict[str, str]] = []  # of each job, the keys of the trainer that it does not obey

    for number, job in enumerate(jobs, 1):
        try:
            with composed(config, job, number - 1) as cfg:
                check(cfg)
                refused.append(dict(refused_keys(to_plain(cfg), job)))
                folder, name = Path(cfg.hydra.sweep.dir), str(cfg.hydra.sweep.subdir)
                found = state(folder / name)
                if here and not config.dry_run and found != "finished":  # another machine may have what this one has not
                    _try_parts(cfg, specs, job)
                packages |= user_packages(to_plain(cfg))
                kinds.add(f"{cfg.paths.output_dir}/{cfg.hydra.runtime.choices.task}/{cfg.name}")
        except (ValueError, HydraException, OmegaConfBaseException) as error:
            if not (isinstance(error, UserError | HydraException | OmegaConfBaseException) or is_of_a_group(error)):
                raise
            reason = str(error) if isinstance(error, UserError) else tell_hydra(error)
            raise UserError(f"job {number} of {len(jobs)} ({' '.join(job)}): {reason}") from None
        if config.dry_run:
            echo(f"{found:11}  {' '.join(o for o in job if not o.startswith('dry_run='))}")
        states.setdefault(folder, {})[name] = found

    _refuse_keys(refused)
    for folder, of_folder in states.items():
        echo(plan(folder, list(of_folder.values()), bool(config.retry), [Path(kind) for kind in sorted(kinds)]))
    if not config.dry_run:
        for folder, of_folder in states.items():
            note(folder, command, list(of_folder), packages)
            begun[folder] = list(of_folder)


def _refuse_keys(refused: Sequence[dict[str, str]]) -> None:
    """Raise UserError for a key of the trainer that no job of the sweep obeys; what only some obey is meant for those."""
    for key, line in refused[0].items() if refused else ():
        if all(key in of_job for of_job in refused):
            raise UserError(line)


def note(folder: Path, command: Sequence[str], jobs: Sequence[str], packages: Iterable[str]) -> None:
    """Write sweep.json: the command, the jobs, and the code at the sweep's first start."""
    folder.mkdir(parents=True, exist_ok=True)
    path, lock = folder / SWEEP, folder / ".sweep.lock"
    with locked(lock):
        names = sorted(packages)
        told = read_sweep(folder) if path.is_file() else {"code": code_hash(names), "packages": names, **git_state()}
        write_json(path, {**told, "command": list(command), "folders": list(jobs)})
        lock.unlink(missing_ok=True)


@contextlib.contextmanager
def composed(config: DictConfig, job: Sequence[str], number: int) -> Iterator[DictConfig]:
    """Compose the config of a job as Hydra's launchers do, so that it names the same folder.

    Args:
        config: of the sweep.
        job: its overrides.
        number: from 0, `hydra.job.num`.
    """
    hydra_config = HydraConfig.instance()
    before = hydra_config.cfg
    try:
        cfg = GlobalHydra.instance().config_loader().load_sweep_config(config, list(job))
        with open_dict(cfg):
            cfg.hydra.job.num, cfg.hydra.job.id = number, str(number)
        hydra_config.set_config(cfg)
        run_dir = Path(cfg.hydra.sweep.dir, str(cfg.hydra.sweep.subdir)).absolute()
        with read_write(cfg.hydra.runtime), open_dict(cfg.hydra.runtime):
            cfg.hydra.runtime.output_dir = str(run_dir)
        hydra_config.set_config(cfg)
        yield cfg
    finally:
        hydra_config.cfg = before


def _try_parts(cfg: DictConfig, specs: dict[str, Any], overrides: Sequence[str] = ()) -> None:
    """Build what a job is made of, for the values that only the parts themselves can refuse; jobs that differ in the seed alone once.

    Args:
        specs: of data that were built, by their config, and None for every job that was.
        overrides: of the job; one that refers to another key may have another value in each.

    Raises:
        UserError: a part refuses what it is given.
    """
    plain = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in ("hydra", "seed")]), resolve=False)
    assert isinstance(plain, dict)
    own = [str(OmegaConf.select(cfg, o.lstrip("+~").partition("=")[0])) for o in overrides if "${" in o and "hydra." not in o]
    parts = ([plain, own], [plain["data"], plain["dataset"], own])
    job, data = (json.dumps(part, sort_keys=True, default=str) for part in parts)
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
            build(cfg.optimizer, "optimizer")(nn.Linear(1, 1).parameters())
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
    try:
        record = read_record(folder)
        status = str(record.get("status"))
        if status == "finished":
            read_metrics(folder)
    except OtherFormatError:
        raise
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
    if not (folder / SWEEP).is_file():
        return None
    began = read_sweep(folder)
    if began.get("code") == code_hash(began.get("packages", [])):
        return None
    commit = began.get("git_commit") or "unknown"
    return f"the code has changed since this sweep was started ({folder}, commit {commit}): its runs are not alike"


def failures(folder: Path, jobs: Sequence[str]) -> list[tuple[str, str]]:
    """Return overrides and error of each job of the sweep that failed, or whose files are damaged or gone."""
    found = []
    for name in jobs:
        if not has_begun(folder / name):
            continue
        what = name
        try:
            record = read_json(folder / name / "run.json")
            check_types(record, folder / name / "run.json", RUN)
            what = " ".join(record.get("overrides", []))
            if state(folder / name) == "failed":
                found.append((what, str(record.get("error"))))
        except UserError as error:
            found.append((what, str(error)))
    return found


def _seconds(path: Path) -> float | None:
    try:
        record = read_record(path.parent)
    except UserError:
        return None
    return record.get("wall_seconds") if record.get("status") == "finished" else None

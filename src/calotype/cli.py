"""`calotype`: a run, or a sweep. At module level only the standard library, Hydra and OmegaConf: help and completion answer at once."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from calotype import __version__
from calotype.check import check_root, nearest
from calotype.cli_errors import RUN_ERROR, USAGE_ERROR, one_line_errors, say
from calotype.closed_pipe import command
from calotype.console import echo, printable
from calotype.nested_completion import nested_completion
from calotype.override_checks import refuse_wrong_overrides
from calotype.overrides import quoted, with_value
from calotype.quick_groups import composed_once, quick_groups
from calotype.records import SWEEP, read_record
from calotype.run_folder import TakenError, shown, wait_while_running
from calotype.schema import conf_dir
from calotype.types import UserError

if TYPE_CHECKING:
    from calotype.runner import Result

MOST_CLASSES = 20  # whose recall is printed one by one
_failure = 0  # exit code that the application function leaves for `main`
_started = False  # whether Hydra has made the run folder and called the application function


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """`calotype`: a Hydra application."""
    global _failure, _started
    _failure, _started = 0, False
    given = list(sys.argv[1:] if arguments is None else arguments)
    with one_line_errors():
        if "--version" in given:
            return echo(f"calotype {__version__}")
        if given[:1] == ["info"]:
            return _info(given[1:])
        if given[:1] == ["fetch"]:
            return _fetch(given[1:])
        _refuse_options(given)
        given = quoted(_options_first(given))
        refuse_wrong_overrides(given)
        if any(a.startswith("resume=") and a not in ("resume=", "resume=null") for a in given):
            if {"-m", "--multirun"} & set(given):
                raise SystemExit(say("resume= goes on with one run; leave out -m", USAGE_ERROR))
            from calotype import runner

            return _report(runner.run(given))
        if {"-m", "--multirun"} & set(given) or _is_study(given):
            return _sweep(given)
        with composed_once():
            _hydra(given)
    if _failure:
        raise SystemExit(_failure)


def _info(given: Sequence[str]) -> None:
    """`calotype info`"""
    if given:
        raise SystemExit(say(f"{given[0]}: calotype info takes nothing more", USAGE_ERROR))
    from calotype.info import info

    for line in info():
        echo(line)


def _fetch(given: Sequence[str]) -> None:
    """`calotype fetch OVERRIDES...`"""
    if not given or given[0].startswith("-"):
        raise SystemExit(say("fetch takes the overrides of a run, as calotype fetch experiment=gan/mnist", USAGE_ERROR))
    from calotype.fetch import fetch

    for line in fetch(given):
        echo(line)


def _refuse_options(given: Sequence[str]) -> None:
    """Hydra would tell an unknown one in many lines."""
    legal = [name for action in get_args_parser()._actions for name in action.option_strings]
    for option in (a.partition("=")[0] for a in given):
        if option.startswith("--") and option not in legal:
            key = option[2:].replace("-", "_")
            from calotype.settings import RootSettings

            field = RootSettings.model_fields.get(key)
            if field is not None and field.annotation is bool:
                told = f"; did you mean {key}=true?"
            else:
                told = nearest(option, legal) + "; settings are typed without dashes, as seed=1"
            raise SystemExit(say(f"{option}: no such option{told}", USAGE_ERROR))


def _options_first(given: Sequence[str]) -> list[str]:
    """The arguments with options, and their values, before the overrides: argparse refuses overrides on both sides of an option."""
    takes_value = {name: action.nargs != 0 for action in get_args_parser()._actions for name in action.option_strings}
    options: list[str] = []
    overrides: list[str] = []
    rest = list(given)
    while rest:
        argument = rest.pop(0)
        if argument.partition("=")[0] not in takes_value:
            overrides.append(argument)
            continue
        options.append(argument)
        # The value of --info is optional, and its words are no overrides.
        if takes_value.get(argument) and rest and "=" not in rest[0] and not rest[0].startswith(("-", "~")):
            options.append(rest.pop(0))
        elif takes_value.get(argument) and rest and argument in ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp"):
            options.append(rest.pop(0))  # a path may hold anything
    return [*options, *overrides]


def _is_study(given: Sequence[str]) -> bool:
    """Whether a config of the user's own is named, which holds its grid (`hydra.mode: MULTIRUN`): a study."""
    return any(a in ("-cn", "--config-name") or a.startswith("--config-name=") for a in given)


def _hydra(given: Sequence[str]) -> None:
    """The application function with these arguments."""
    application = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(_application)
    with _arguments(["calotype", *given]), quick_groups(), nested_completion():
        try:
            application()
        except OSError as error:
            if _started or isinstance(error, HydraException | BrokenPipeError):  # a missing config is an OSError as well
                raise
            where = "hydra.sweep.dir" if {"-m", "--multirun"} & set(given) else "hydra.run.dir"
            raise SystemExit(say(f"{where}: {error.filename}: {error.strerror}; give another folder", USAGE_ERROR)) from None


def _sweep(given: list[str]) -> None:
    """The same command finds the same folder again. At the end, whatever happened: the table over all runs, and what failed."""
    from calotype import sweep
    from calotype.sweep_process import started_here

    if not sweep.gives_folder(given):
        given = [*given, with_value("hydra.sweep.dir=", sweep.folder_of(given))]
    sweep.begun.clear()
    failed = False
    try:
        with started_here():
            _hydra(given)
    except SystemExit as end:  # 0 after a dry run, which Hydra has no other way to be told of
        if end.code:
            raise
    finally:
        if sweep.begun:
            failed = _end_sweep()
    if failed:
        echo("calotype: the same command with retry=true runs again what failed", error=True)
        raise SystemExit(RUN_ERROR)


def _end_sweep() -> bool:
    """Print the table of a sweep's runs, and what failed or is damaged; return whether something is."""
    from calotype import sweep
    from calotype.report.runs import by_task, find_runs
    from calotype.report.table import make_table, text

    damaged: list[str] = []
    with contextlib.suppress(UserError):  # nothing was run
        runs, damaged = find_runs(list(sweep.begun))
        for task, of_task in by_task(runs).items():
            echo(f"\n{text(make_table(task, of_task), 'terminal')}", lines=True)
    for folder in sweep.begun:
        echo()
        echo(f"sweep folder  {folder}")

    failed = [one for folder, jobs in sweep.begun.items() for one in sweep.failures(folder, jobs)]
    for overrides, error in failed:
        say(f"failed: {overrides}: {error}", RUN_ERROR)
    for line in damaged:  # of a job of an earlier, larger grid in the same folder
        if not any(error.startswith(line) for _, error in failed):
            say(f"left out: {line}", RUN_ERROR)
    return bool(failed or damaged)


def _application(cfg: DictConfig) -> None:
    global _failure, _started
    _started = True
    hydra_config = HydraConfig.get()
    run_dir = Path(hydra_config.runtime.output_dir)
    if hydra_config.mode != RunMode.RUN:
        return _job(cfg, run_dir)
    try:
        with _no_empty_folder(run_dir):
            check_root(cfg)  # before torch is imported
            from calotype import runner

            options = _typed()
            _report(runner.launch(cfg, run_dir, **options, typed=options["overrides"]))
    except UserError as error:
        _failure = say(str(error), error.exit_code)


def _typed() -> dict[str, Any]:
    """What was typed, and the options of the groups, for run.json."""
    hydra_config = HydraConfig.get()
    # As they were typed: a path that is given as ${paths.data_dir}/photo.jpg holds on another machine, too.
    overrides = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)
    return {"overrides": cast(list[str], overrides), "choices": hydra_config.runtime.choices}


def _job(cfg: DictConfig, run_dir: Path) -> None:
    """Run a job of a sweep, and say at once where it fails; with fail_fast=true that ends the sweep."""
    from calotype.sweep_process import ends_with_sweep

    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.sweep.dir)
    job = " ".join(_typed()["overrides"])
    side_by_side = str(hydra_config.launcher._target_).endswith("JoblibLauncher")
    try:
        with _no_empty_folder(run_dir), ends_with_sweep() if side_by_side else contextlib.nullcontext():
            check_root(cfg)
            _claim_and_run(cfg, run_dir, folder)
    except UserError as error:
        if cfg.fail_fast:
            raise SystemExit(say(f"{job}: {error}; fail_fast=true stops here", RUN_ERROR)) from None
        if not _is_noted(run_dir, folder):
            raise  # Hydra goes on with the other jobs, and tells the first error at the end
        say(f"{job}: {error}; the sweep goes on", RUN_ERROR)
    except Exception as error:  # a fault of the program's keeps its traceback
        if not cfg.fail_fast:
            raise
        traceback.print_exc()
        raise SystemExit(say(f"{job}: {error!r}; fail_fast=true stops here", RUN_ERROR)) from None


def _claim_and_run(cfg: DictConfig, run_dir: Path, folder: Path) -> None:
    """Run a job unless it is done. One that another process is at is awaited, and gone on with where that process dies.

    Raises:
        UserError: it failed, now or before.
    """
    from calotype import runner, sweep

    if told := sweep.changed(folder):
        say(told, 0)
    elsewhere = False
    while True:
        elsewhere = wait_while_running(run_dir) or elsewhere
        found = sweep.state(run_dir)
        if found == "finished":
            echo(f"finished {'elsewhere' if elsewhere else 'before'}  {shown(run_dir)}")
            return
        if found == "failed" and (elsewhere or not cfg.retry):
            error = read_record(run_dir).get("error")
            raise UserError(f"failed {'elsewhere' if elsewhere else 'before'} ({error})")
        try:
            result = runner.launch(cfg, run_dir, **_typed(), go_on=found != "new")
        except TakenError:  # by another process, a moment ago
            elsewhere = True
            continue
        _report_briefly(result, cfg.task._target_.split(".")[-2])
        return


def _is_noted(run_dir: Path, folder: Path) -> bool:
    """Whether the end of the sweep will tell that this job of it failed."""
    from calotype import sweep

    return (folder / SWEEP).is_file() and sweep.state(run_dir) == "failed"


def _report(result: Result) -> None:
    """The table of final figures and the run folder."""
    if result.module is None:
        return
    rows = sorted(result.metrics.items())
    each_class = [name for name, _ in rows if "/recall/" in name]
    if len(each_class) > MOST_CLASSES:
        rows = [row for row in rows if row[0] not in each_class]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table("figure", "value")
        for name, value in rows:
            table.add_row(Text(printable(name)), _number(value))
        Console().print(table)
    else:
        width = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            echo(f"{name:{width}}  {_number(value)}")
    if len(each_class) > MOST_CLASSES:
        echo(f"and the recall of each of {len(each_class)} classes in metrics.json")
    for picture in sorted(p for p in (result.run_dir / "images").glob("*.*") if p.suffix in (".png", ".gif")):
        echo(f"picture     {shown(picture)}")
    echo(f"run folder  {shown(result.run_dir)}")


def _report_briefly(result: Result, task: str) -> None:
    """One line for a job of a sweep."""
    from calotype.report.table import main_metrics

    if result.module is not None:
        shortened = [f"{name} {_number(result.metrics[name])}" for name in main_metrics(task, result.metrics)]
        echo("  ".join([*shortened, f"run folder  {shown(result.run_dir)}"]))


def _number(value: float | None) -> str:
    if value is None:
        return "not finite"
    return f"{value:.0f}" if value >= 2 and value == int(value) else f"{value:.4f}"  # a count


@contextlib.contextmanager
def _no_empty_folder(run_dir: Path) -> Iterator[None]:
    """Hydra makes the run folder before it calls; a config that is refused leaves none."""
    try:
        yield
    finally:
        for folder in (run_dir, *run_dir.parents[:3]):
            try:
                folder.rmdir()
            except OSError:
                break


@contextlib.contextmanager
def _arguments(argv: list[str]) -> Iterator[None]:
    """Hydra reads `sys.argv`."""
    before = sys.argv
    sys.argv = argv
    try:
        yield
    finally:
        sys.argv = before


if __name__ == "__main__":
    main()

"""`calotype-report` and `calotype-rerun`: tables over runs, and whether a run comes out the same again."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from calotype.cli_errors import RUN_ERROR, TRUST, Parser, file_path, one_line_errors, say
from calotype.closed_pipe import command
from calotype.common_options import add_common_options
from calotype.console import echo
from calotype.number_options import MAX_SEED, whole
from calotype.places import expanded
from calotype.trust import trusting
from calotype.types import OptionError, UserError

if TYPE_CHECKING:
    from calotype.report.runs import Run
    from calotype.report.table import Table


@command
def report_main(arguments: Sequence[str] | None = None) -> None:
    """`calotype-report PATH...`, `calotype-report battle RUN_A RUN_B`, `calotype-report check DIR`"""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["battle"]:
        return _battle(given[1:])
    if given[:1] == ["check"]:
        return _check_evidence(given[1:])
    options = _report_parser().parse_args(given)
    with one_line_errors():
        if options.bundle is not None:
            return _bundle(options.paths, options.bundle)
        _refuse_paths(options)
        _report(options)


def _report_parser() -> Parser:
    parser = Parser(
        prog="calotype-report",
        description="Tables over all runs below some folders: a row for each setting, mean and spread over its seeds.",
        epilog="calotype-report battle RUN_A RUN_B sets two GANs against each other; "
        "calotype-report check DIR tells which committed figures no longer match their config.",
    )
    parser.add_argument("paths", nargs="+", type=file_path, metavar="PATH", help="run folders, or folders that hold some")
    parser.add_argument("--metrics", metavar="A,B", help="the columns, any of metrics.json (default: those that matter most to the task)")
    parser.add_argument(
        "--baseline",
        nargs="+",
        metavar="KEY=VALUE",
        help="the row that the others are tested against, or several, each for those that agree with it in all else: "
        "p of paired t-tests over seeds, corrected (Holm)",
    )
    parser.add_argument("--form", choices=("terminal", "csv", "markdown", "latex"), default="terminal", help="of the tables")
    parser.add_argument(
        "--page", type=file_path, metavar="FILE", help="also the gallery page: one HTML file of all runs and their pictures"
    )
    parser.add_argument("--share", action="store_true", help="leave absolute paths, host and user names out of the page, to pass it on")
    parser.add_argument(
        "--figures", type=file_path, metavar="DIR", help="also figures as SVG and PDF: curves, a plot for each swept setting"
    )
    parser.add_argument(
        "--bundle",
        nargs="?",
        const=Path(),
        type=file_path,
        metavar="FILE",
        help="instead, for a bug report: config, run.json, log and metrics of one run in a ZIP file, without data, weights, "
        "absolute paths, user and host names (default: bundle-RUN.zip)",
    )
    add_common_options(parser)
    return parser


def _refuse_paths(options: argparse.Namespace) -> None:
    """What can be said before any run is read."""
    if options.bundle is not None and options.bundle.is_dir():
        raise OptionError(f"--bundle {options.bundle}: a folder; name the run first, as calotype-report {options.bundle} --bundle")
    if options.share and options.page is None:
        raise OptionError("--share: it is of the page; add --page FILE")
    if options.page is not None and options.page.is_dir():
        raise OptionError(f"--page {options.page}: a folder; name a file in it, as {options.page / 'runs.html'}")
    wrong = str(options.paths[0])
    if not options.paths[0].exists() and (near := get_close_matches(wrong, ("battle", "check"), 1, 0.7)):
        raise UserError(f"{wrong}: no such folder; did you mean calotype-report {near[0]}?")


def _report(options: argparse.Namespace) -> None:
    """Print the tables, write the page and the figures, and name what was left out."""
    from calotype.report.runs import by_task, find_runs, not_begun, with_metrics
    from calotype.report.table import make_table, split_names, text

    runs, damaged = find_runs(options.paths)
    metrics = [] if options.metrics is None else split_names(options.metrics, {name for run in runs for name in run.metrics})
    baseline = None if options.baseline is None else dict(_setting(one) for one in options.baseline)
    tasks = with_metrics(by_task(runs), metrics)
    tables = [make_table(task, of_it, metrics, baseline) for task, of_it in tasks.items()]

    if len(tables) > 1:
        echo(f"calotype: runs of {len(tables)} tasks, a table for each: {', '.join(t.task for t in tables)}", error=True)
    echo("\n\n".join(text(table, options.form) for table in tables), lines=True)
    for line in not_begun(options.paths):
        say(line, 0)
    _write(options, runs, tables)

    for line in damaged:
        say(f"left out: {line}", RUN_ERROR)
    if damaged:
        raise SystemExit(RUN_ERROR)


def _write(options: argparse.Namespace, runs: Sequence[Run], tables: Sequence[Table]) -> None:
    """The page and the figures, where they are asked for."""
    if options.page is not None:
        from calotype.report.page import write_page
        from calotype.report.redaction import Redactor

        redactor = Redactor(run.record for run in runs) if options.share else None
        with _written("--page", options.page):
            write_page(options.page, runs, tables, redactor=redactor)
        echo(f"page  {options.page}", error=True)
    if options.figures is not None:
        from calotype.report.figures import write_figures

        with _written("--figures", options.figures):
            paths = [path for table in tables for path in write_figures(options.figures, table)]
        for path in paths:
            echo(f"figure  {path}", error=True)


def _bundle(paths: Sequence[Path], given: Path) -> None:
    """Write a bundle of one run; what of it is damaged is named, there and here."""
    from calotype.report.bundle import write_bundle

    if len(paths) > 1:
        raise OptionError(f"--bundle: of one run, and {len(paths)} are named")
    path = Path(f"bundle-{paths[0].resolve().name}.zip") if given == Path() else given
    with _written("--bundle", path):
        names, faults = write_bundle(paths[0], path)
    echo(f"bundle  {path}  ({', '.join(names)})")
    for fault in faults:
        say(fault, RUN_ERROR)
    if faults:
        raise SystemExit(RUN_ERROR)


@contextlib.contextmanager
def _written(option: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise UserError(f"{option} {path}: {error.strerror or error}; give another path") from None


def _check_evidence(arguments: Sequence[str]) -> None:
    parser = Parser(prog="calotype-report check", description="Which committed figures no longer match their config.")
    parser.add_argument("folder", type=file_path, metavar="DIR", help="folder of evidence, as experiments/")
    options = parser.parse_args(arguments)
    with one_line_errors():
        from calotype.report.evidence import stale

        count, lines = stale(options.folder)
        for line in lines:
            echo(line)
        echo(f"{count - len(lines)} of {count} files of evidence match the config that their command composes")
        if lines:
            raise SystemExit(RUN_ERROR)


def _battle(arguments: Sequence[str]) -> None:
    parser = Parser(prog="calotype-report battle", description="Two GANs against each other, by each one's discriminator.")
    parser.add_argument("runs", nargs=2, type=file_path, metavar="RUN")
    parser.add_argument("--n", type=whole(1), default=2000, help="generated and test images (default 2000)")
    parser.add_argument("--seed", type=whole(0, MAX_SEED), default=0, help="of the draw (default 0)")
    parser.add_argument("--trust", action="store_true", help=TRUST)
    options = parser.parse_args(arguments)
    with one_line_errors(), trusting(options.trust):
        from calotype.battle import battle

        for line in battle(*options.runs, n=options.n, seed=options.seed):
            echo(line)


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise OptionError(f"--baseline {text}: settings of a row, as KEY=VALUE")
    return key, value


@command
def rerun_main(arguments: Sequence[str] | None = None) -> None:
    """`calotype-rerun RUN`"""
    parser = Parser(prog="calotype-rerun", description="Run a finished run again and say whether its figures are the same.")
    parser.add_argument("run", help="run folder")
    parser.add_argument("--out", type=file_path, metavar="DIR", help="folder of the new run (default: in outputs/reruns)")
    parser.add_argument("--trust", action="store_true", help=TRUST)
    add_common_options(parser)
    options = parser.parse_args(arguments)
    with one_line_errors():
        from calotype.rerun import rerun

        same = rerun(expanded(options.run), options.out, trust=options.trust)
    if not same:
        raise SystemExit(RUN_ERROR)

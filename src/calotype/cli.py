"""Console entry points. At module level only the standard library, Hydra and OmegaConf: help and completion answer at once."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from calotype.check import ConfigError, check_root, nearest, tell
from calotype.schema import conf_dir, register
from calotype.types import UserError

if TYPE_CHECKING:
    from calotype.runner import Result

USAGE_ERROR, RUN_ERROR, INTERRUPTED = 2, 1, 130
MOST_CLASSES = 20  # whose recall is printed one by one
_failure = 0  # exit code that the application function leaves for `main`
_started = False  # whether Hydra has made the run folder and called the application function


def main(arguments: Sequence[str] | None = None) -> None:
    """`calotype`: a Hydra application."""
    global _failure, _started
    _failure, _started = 0, False
    register()
    given = list(sys.argv[1:] if arguments is None else arguments)
    with _one_line_errors():
        if any(a.startswith("resume=") and a not in ("resume=", "resume=null") for a in given):
            if {"-m", "--multirun"} & set(given):
                raise SystemExit(_say("resume= goes on with one run; leave out -m", USAGE_ERROR))
            from calotype import runner

            return _report(runner.run(given))
        if {"-m", "--multirun"} & set(given):
            return _sweep(given)
        _hydra(given)
    if _failure:
        raise SystemExit(_failure)


def _hydra(given: Sequence[str]) -> None:
    """The application function with these arguments."""
    application = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(_application)
    with _arguments(["calotype", *given]):
        try:
            application()
        except OSError as error:
            if _started or isinstance(error, HydraException):  # a missing config is an OSError as well
                raise
            raise SystemExit(_say(f"hydra.run.dir: {error.filename}: {error.strerror}; give another folder", USAGE_ERROR)) from None


def _sweep(given: list[str]) -> None:
    """The same command finds the same folder again. At the end, whatever happened: the table over all runs, and what failed."""
    from calotype import sweep

    if not any(o.startswith("hydra.sweep.dir=") for o in given):
        given = [*given, f"hydra.sweep.dir={sweep.folder_of(given)}"]
    sweep.begun.clear()
    try:
        _hydra(given)
    except SystemExit as end:  # 0 after a dry run, which Hydra has no other way to be told of
        if end.code:
            raise
    finally:
        for folder in sweep.begun:
            from calotype.report.runs import by_task, find_runs
            from calotype.report.table import make_table, text

            with contextlib.suppress(UserError):  # nothing was run
                for task, runs in by_task(find_runs([folder])[0]).items():
                    print(f"\n{text(make_table(task, runs), 'terminal')}")
            print(f"\nsweep folder  {folder}", flush=True)
            failed = sweep.failures(folder)
            for overrides, error in failed:
                print(f"calotype: failed: {overrides}: {' '.join(error.split())}", file=sys.stderr, flush=True)


def apply_main(arguments: Sequence[str] | None = None) -> None:
    """`calotype-apply RUN classify|verify|enroll|identify|gallery|stylize|sample|interpolate|translate|complete|score ...`"""
    parser = argparse.ArgumentParser(prog="calotype-apply", description="Use a finished run on new inputs.")
    parser.add_argument("run", help="run folder")
    commands = parser.add_subparsers(dest="command", required=True)
    classify = commands.add_parser("classify", help="print the label and probability of each image")
    classify.add_argument("images", nargs="+", metavar="IMAGE")
    classify.add_argument("--top", type=int, default=1, metavar="K", help="print the K likeliest labels (default 1)")
    verify = commands.add_parser("verify", help="same or different: print the verdict on two images")
    verify.add_argument("images", nargs=2, metavar="IMAGE")
    stylize = commands.add_parser("stylize", help="repaint each image in the style that the run learned")
    stylize.add_argument("images", nargs="+", metavar="IMAGE")
    stylize.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the repainted images")
    sample = commands.add_parser("sample", help="draw new images")
    interpolate = commands.add_parser("interpolate", help="draw images on the way from one to another")
    complete = commands.add_parser("complete", help="draw what a mask hides of an image")
    complete.add_argument("image", type=Path, metavar="IMAGE")
    complete.add_argument("--mask", type=Path, required=True, metavar="MASK", help="an image of its size, black where it is hidden")
    score = commands.add_parser("score", help="print the bits per dimension of each image: high for the odd one out")
    score.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    score.add_argument("--label", help="the class, of a conditional run")
    for command in (complete, score):
        command.add_argument("--resize", action="store_true", help="images of another size or depth, to the run's")
    for command in (sample, complete):
        command.add_argument(
            "--temperature", type=float, help="of task=pixelcnn, below 1 for likelier pixels, 0 for the likeliest (default 1)"
        )
    for command, count in ((sample, 64), (interpolate, 8), (complete, 8)):
        command.add_argument("--n", type=int, default=count, help=f"how many (default {count})")
        command.add_argument("--label", help="the class, of a conditional run (default: in turn)")
        command.add_argument("--seed", type=int, default=0, help="of the draw (default 0)")
        command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the images")
    translate = commands.add_parser("translate", help="make of each image what the run learned to make")
    translate.add_argument("images", nargs="+", metavar="IMAGE")
    translate.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    enroll = commands.add_parser("enroll", help="add people to a gallery; makes the file")
    enroll.add_argument("folder", metavar="DIR", help="a folder for each person, with one image or more")
    identify = commands.add_parser("identify", help="print who of a gallery each image shows, or that nobody is recognized")
    identify.add_argument("images", nargs="+", metavar="IMAGE")
    gallery = commands.add_parser("gallery", help="list, add or remove people")
    actions = gallery.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="print the people and how many templates each has")
    add = actions.add_parser("add", help="add images of one person")
    add.add_argument("name", metavar="NAME")
    add.add_argument("images", nargs="+", metavar="IMAGE")
    remove = actions.add_parser("remove", help="take a person out")
    remove.add_argument("name", metavar="NAME")
    for command in (enroll, identify, listing, add, remove):
        command.add_argument("--gallery", type=Path, required=True, metavar="FILE", help="the gallery")
    for command in (enroll, add):
        command.add_argument(
            "--fpir", type=float, metavar="SHARE", help="of strangers' searches that may return anybody (new galleries: 0.01)"
        )
    options = parser.parse_args(arguments)
    with _one_line_errors():
        for line in _applied(options):
            print(line, flush=True)


def _applied(options: argparse.Namespace) -> Iterator[str]:
    """What `calotype-apply` prints."""
    from calotype import apply

    if options.command == "classify":
        for path, labels in apply.classify(options.run, options.images, top=options.top):
            yield "\t".join([path, *(f"{label} {probability:.4f}" for label, probability in labels)])
    elif options.command == "verify":
        found = apply.verify(options.run, *options.images)
        yield (
            f"{'same' if found.same else 'different'}\tdistance {found.distance:.4f}\tthreshold {found.threshold:.4f}\t"
            f"probability {found.probability:.4f}" + (f"\t({found.note})" if found.note else "")
        )
    elif options.command == "stylize":
        yield from apply.stylize(options.run, options.images, options.out)
    elif options.command in ("sample", "interpolate"):
        from calotype import generate

        more = {"temperature": options.temperature} if options.command == "sample" else {}
        draw = getattr(generate, options.command)
        yield from draw(options.run, options.n, options.out, label=options.label, seed=options.seed, **more)
    elif options.command == "complete":
        from calotype import generate

        where = (options.run, options.image, options.mask, options.n, options.out)
        drawing = {"label": options.label, "seed": options.seed, "temperature": options.temperature, "resize": options.resize}
        yield from generate.complete(*where, **drawing)
    elif options.command == "score":
        from calotype import generate

        for path, bits in generate.score(options.run, options.images, label=options.label, resize=options.resize):
            yield f"{path}\t{bits:.4f} bits per dimension"
    elif options.command == "translate":
        from calotype import generate

        yield from generate.translate(options.run, options.images, options.out)
    elif options.command == "enroll":
        yield from apply.enroll(options.run, apply.people_in(Path(options.folder)), options.gallery, fpir=options.fpir)
    elif options.command == "identify":
        for match in apply.identify(options.run, options.images, options.gallery):
            yield f"{match.image}\t{match.name or 'not recognized'}\tdistance {match.distance:.4f}\tthreshold {match.threshold:.4f}"
    elif options.action == "list":
        from calotype.gallery import Gallery

        kept = Gallery.load(options.gallery)
        for name in dict.fromkeys(kept.names):
            yield f"{name}\t{kept.names.count(name)}"
        yield f"{len(set(kept.names))} people, {len(kept.names)} templates, threshold {kept.threshold:.4f} for FPIR {kept.fpir:g}"
    elif options.action == "add":
        people = [(options.name, [Path(image) for image in options.images])]
        yield from apply.enroll(options.run, people, options.gallery, fpir=options.fpir)
    else:
        yield from apply.remove(options.run, options.name, options.gallery)


def rerun_main(arguments: Sequence[str] | None = None) -> None:
    """`calotype-rerun RUN`"""
    parser = argparse.ArgumentParser(
        prog="calotype-rerun", description="Run a finished run again and say whether its figures are the same."
    )
    parser.add_argument("run", help="run folder")
    parser.add_argument("--out", metavar="DIR", help="folder of the new run (default: beside the old one)")
    options = parser.parse_args(arguments)
    with _one_line_errors():
        from calotype.rerun import rerun

        same = rerun(Path(options.run), None if options.out is None else Path(options.out))
    if not same:
        raise SystemExit(RUN_ERROR)


def report_main(arguments: Sequence[str] | None = None) -> None:
    """`calotype-report PATH...`, `calotype-report battle RUN_A RUN_B`, `calotype-report check DIR`"""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["battle"]:
        return _battle(given[1:])
    if given[:1] == ["check"]:
        return _check_evidence(given[1:])
    parser = argparse.ArgumentParser(
        prog="calotype-report",
        description="Tables over all runs below some folders: a row for each setting, mean and spread over its seeds.",
        epilog="calotype-report battle RUN_A RUN_B sets two GANs against each other; "
        "calotype-report check DIR tells which committed figures no longer match their config.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="run folders, or folders that hold some")
    parser.add_argument("--metrics", default="", metavar="A,B", help="the columns (default: those that matter most to the task)")
    parser.add_argument("--baseline", nargs="+", metavar="KEY=VALUE", help="the row that the others are tested against")
    parser.add_argument("--form", choices=("terminal", "csv", "markdown", "latex"), default="terminal", help="of the tables")
    parser.add_argument("--page", type=Path, metavar="FILE", help="also the gallery page: one HTML file of all runs and their pictures")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="also figures as SVG and PDF: curves, a plot for each swept setting")
    options = parser.parse_args(given)
    with _one_line_errors():
        from calotype.report.runs import by_task, find_runs
        from calotype.report.table import make_table, text

        runs, damaged = find_runs(options.paths)
        metrics = [name for name in options.metrics.split(",") if name]
        baseline = None if options.baseline is None else dict(one.partition("=")[::2] for one in options.baseline)
        tables = [make_table(task, of_it, metrics, baseline) for task, of_it in by_task(runs).items()]
        if len(tables) > 1:
            print(f"calotype: runs of {len(tables)} tasks, a table for each: {', '.join(t.task for t in tables)}", file=sys.stderr)
        print("\n\n".join(text(table, options.form) for table in tables), flush=True)
        if options.page is not None:
            from calotype.report.page import write_page

            write_page(options.page, runs, tables)
            print(f"page  {options.page}", file=sys.stderr)
        if options.figures is not None:
            from calotype.report.figures import write_figures

            for path in [path for table in tables for path in write_figures(options.figures, table)]:
                print(f"figure  {path}", file=sys.stderr)
        for line in damaged:
            _say(f"left out: {line}", RUN_ERROR)
        if damaged:
            raise SystemExit(RUN_ERROR)


def _check_evidence(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="calotype-report check", description="Which committed figures no longer match their config.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of evidence, as experiments/")
    options = parser.parse_args(arguments)
    with _one_line_errors():
        from calotype.report.evidence import stale

        count, lines = stale(options.folder)
        for line in lines:
            print(line)
        print(f"{count - len(lines)} of {count} files of evidence match the config that their command composes", flush=True)
        if lines:
            raise SystemExit(RUN_ERROR)


def _battle(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="calotype-report battle", description="Two GANs against each other, by each one's discriminator.")
    parser.add_argument("runs", nargs=2, metavar="RUN")
    parser.add_argument("--n", type=int, default=2000, help="generated and test images (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default 0)")
    options = parser.parse_args(arguments)
    with _one_line_errors():
        from calotype.battle import battle

        for line in battle(*options.runs, n=options.n, seed=options.seed):
            print(line, flush=True)


def _application(cfg: DictConfig) -> None:
    global _failure, _started
    _started = True
    hydra_config = HydraConfig.get()
    run_dir = Path(hydra_config.runtime.output_dir)
    single = hydra_config.mode == RunMode.RUN
    try:
        with _no_empty_folder(run_dir):
            check_root(cfg)  # before torch is imported
            found = "new" if single else _found(cfg, run_dir)
            if found == "finished":
                return
            from calotype import runner

            # As they were typed: a path that is given as ${paths.data_dir}/photo.jpg holds on another machine, too.
            given = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)
            _report(runner.launch(cfg, run_dir, overrides=cast(list[str], given), go_on=found != "new"))
    except UserError as error:
        if not single and not cfg.fail_fast:
            raise  # in a sweep Hydra goes on with the other jobs, and tells the first error at the end
        if not single:
            raise SystemExit(_say(f"{' '.join(hydra_config.overrides.task)}: {error}; fail_fast=true stops here", RUN_ERROR)) from None
        _failure = _say(str(error), USAGE_ERROR if isinstance(error, ConfigError) else RUN_ERROR)


def _found(cfg: DictConfig, run_dir: Path) -> str:
    """What there is of a sweep's job from before; tells it, and refuses one that failed."""
    from calotype import sweep
    from calotype.run_folder import read_json

    if told := sweep.changed(run_dir.parent):
        _say(told, 0)
    found = sweep.state(run_dir)
    if found == "finished":
        print(f"finished before  {run_dir}", flush=True)
    elif found == "failed" and not cfg.retry:
        raise UserError(f"failed before ({read_json(run_dir / 'run.json').get('error')}); retry=true runs it again")
    return found


def _report(result: Result) -> None:
    """The table of final figures and the run folder."""
    from calotype.runner import shown

    if result.module is None:
        return
    rows = sorted(result.metrics.items())
    each_class = [name for name, _ in rows if "/recall/" in name]
    if len(each_class) > MOST_CLASSES:
        rows = [row for row in rows if row[0] not in each_class]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table("figure", "value")
        for name, value in rows:
            table.add_row(name, _number(value))
        Console().print(table)
    else:
        width = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            print(f"{name:{width}}  {_number(value)}")
    if len(each_class) > MOST_CLASSES:
        print(f"and the recall of each of {len(each_class)} classes in metrics.json")
    for picture in sorted((result.run_dir / "images").glob("*.png")):
        print(f"picture     {shown(picture)}")
    print(f"run folder  {shown(result.run_dir)}", flush=True)


def _number(value: float | None) -> str:
    if value is None:
        return "not finite"
    return f"{value:.0f}" if value >= 2 and value == int(value) else f"{value:.4f}"  # a count


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """A user's mistake becomes one line on stderr; a fault of the program's keeps its traceback."""
    before = signal.signal(signal.SIGTERM, _terminate) if _in_main_thread() else None
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, instead of printing many lines and leaving
    try:
        yield
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise SystemExit(_say(_tell(error), USAGE_ERROR)) from None
    except ValueError as error:
        if "Config group override must be" in str(error):
            told = "a group takes the name of an option, not null: logger=none, scheduler=none, or ~GROUP to leave it out"
            raise SystemExit(_say(told, USAGE_ERROR)) from None
        if not isinstance(error, UserError):
            raise
        raise SystemExit(_say(str(error), USAGE_ERROR if isinstance(error, ConfigError) else RUN_ERROR)) from None
    except KeyboardInterrupt as error:
        raise SystemExit(_say(str(error) or "interrupted", INTERRUPTED)) from None
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
        if full_error is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error


def _tell(error: BaseException) -> str:
    """What Hydra's error says, in one line."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        top, _, wanted = error.missing_cfg_file.partition("/")
        inner = (file.relative_to(conf_dir() / top).with_suffix("") for file in (conf_dir() / top).rglob("*.yaml"))
        options = sorted({path.as_posix() for path in inner if path.parts[0] != "features"})
        return f"{top}={wanted}: no such choice{nearest(wanted, options)} ({top}: {', '.join(options)})"
    cause = error.__cause__ or error.__context__
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        where = str(error).partition(":")[0] if str(error).startswith("In '") else ""  # In 'experiment/mine'
        return f"{where}: {tell(cause)}" if where else tell(cause)
    if isinstance(error, YAMLError):
        mark = getattr(error, "problem_mark", None)
        place = f"{mark.name}, line {mark.line + 1}: " if mark else ""
        return f"{place}not YAML ({getattr(error, 'problem', None) or error})"
    if isinstance(error, OmegaConfBaseException):
        return tell(error)
    return " ".join(str(error).split())


def _say(text: str, code: int) -> int:
    print(f"calotype: {' '.join(text.split())}", file=sys.stderr, flush=True)
    return code


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


def _terminate(*_: Any) -> None:
    raise KeyboardInterrupt


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()


if __name__ == "__main__":
    main()

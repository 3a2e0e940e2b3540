"""What all commands have in common: versions, closed pipes, full disks, numbers out of range, completion, bundles."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import calotype
from calotype.cli import main
from calotype.cli_apply import apply_main
from calotype.cli_report import report_main, rerun_main
from calotype.console import printable
from calotype.gallery import Gallery
from calotype.report.table import split_names
from calotype.types import UserError
from calotype.user_errors import as_user_error
from calotype.whole_file import whole_file
from helpers import FAST, write_run

VERSION = importlib.metadata.version("calotype")


def left_by(capsys: pytest.CaptureFixture[str], main: Callable[[list[str]], None], *arguments: str) -> tuple[Any, str, str]:
    """Exit code, standard output and standard error of a command."""
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert calotype.__version__ == VERSION
    main(["--version"])
    assert capsys.readouterr().out == f"calotype {VERSION}\n"
    for command in (apply_main, report_main, rerun_main):
        assert left_by(capsys, command, "--version") == (0, f"calotype {VERSION}\n", "")


def test_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "calotype", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"calotype {VERSION}\n"


def test_info(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CALOTYPE_DATA", str(tmp_path))
    main(["info"])
    rows = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert rows["torch"] == importlib.metadata.version("torch")
    assert rows["calotype"].startswith(VERSION)
    assert rows["data"] == str(tmp_path)
    assert {"python", "system", "cpu", "gpu", "outputs", "package", "configs"} <= set(rows)
    assert "takes nothing more" in left_by(capsys, main, "info", "seed=1")[2]


# Closed pipes.


def with_closed_output(*arguments: str, module: str = "calotype") -> subprocess.CompletedProcess[str]:
    """A command whose standard output nobody reads."""
    read, write = os.pipe()
    os.close(read)
    try:
        return subprocess.run([sys.executable, "-m", module, *arguments], stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)


@pytest.mark.parametrize(
    "code",
    [
        "from calotype.cli import main; main(['--help'])",
        "from calotype.cli import main; main(['--version'])",
        "from calotype.cli import main; main(['--cfg', 'job'])",
        "from calotype.cli import main; main(['-m', 'seed=0,1', 'dry_run=true'])",
        "import logging, sys; from calotype.closed_pipe import command\n"
        "logging.basicConfig(stream=sys.stdout, level='INFO'); command(lambda _: logging.info('as Hydra does of a sweep'))()",
        "from calotype.cli_apply import apply_main; apply_main(['--help'])",
        "from calotype.cli_report import rerun_main; rerun_main(['--help'])",
        "from calotype.cli_report import report_main; report_main(['runs'])",
        "from calotype.cli_report import report_main; report_main(['check', 'runs'])",
        "from calotype.environment import environment_main; environment_main(['--help'])",
    ],
)
@pytest.mark.parametrize("buffered", [True, False])
def test_nobody_reads_the_output(buffered: bool, code: str, tmp_path: Path) -> None:
    if not buffered and "'check'" not in code and "'job'" not in code:
        return  # two of them are enough
    write_run(tmp_path / "runs" / "a", 0, {"test/eer": 0.1})
    (tmp_path / "runs" / "evidence.json").write_text('{"command": "calotype", "config_hash": ""}')
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode in (141, 0)  # argparse passes over it by itself


def test_a_run_whose_output_nobody_reads_is_interrupted(tmp_path: Path) -> None:
    """It was `failed`, after a traceback; now it can be resumed."""
    done = with_closed_output(*FAST, f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 141
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
    calotype.run([f"resume={tmp_path}/run"])


# Full and read-only disks.


@pytest.fixture(params=[errno.ENOSPC, errno.EROFS, errno.EACCES])
def full_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Files get their names no more; the tests may run as root, to whom no folder is closed."""

    def replace(source: Any, target: Any) -> None:
        raise OSError(request.param, os.strerror(request.param), str(source))

    monkeypatch.setattr(os, "replace", replace)
    return int(request.param)


def test_a_file_that_cannot_be_written_is_named_by_its_own_name(tmp_path: Path, full_disk: int) -> None:
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(OSError, match=r"a\.json") as caught, whole_file(tmp_path / "a.json") as partial:
        partial.write_text("new")
    assert caught.value.filename == str(tmp_path / "a.json")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"
    assert "then resume the run" in str(as_user_error(caught.value))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("grid_sampler_2d_backward_cuda does not have a deterministic implementation, but you set", "hardware.deterministic=false allows"),
        ("CUDA out of memory. Tried to allocate 3.70 GiB. GPU 0 has a total capacity of", "the memory of the GPU is full"),
        ("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried", "of this machine is full"),
    ],
)
def test_errors_of_torch_that_the_user_can_mend(error: str, line: str) -> None:
    told = str(as_user_error(RuntimeError(error)))
    assert line in told
    assert len(told) < 200


@pytest.mark.parametrize("option", ["--page", "--figures", "--bundle"])
def test_a_report_on_a_full_disk(option: str, tmp_path: Path, full_disk: int, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, margin in ((0, 1), (1, 2)):
        write_run(tmp_path / "runs" / str(seed), seed, {"test/eer": 0.1}, f"loss.margin={margin}", loss={"margin": margin})
    target = tmp_path / "out"
    if option != "--figures":
        target.write_text("old")
    runs = str(tmp_path / "runs" / "0") if option == "--bundle" else str(tmp_path / "runs")
    code, _, error = left_by(capsys, report_main, runs, option, str(target))
    assert code == 1
    (line,) = error.splitlines()
    assert line.startswith(f"calotype: {option} {target}: ")
    assert target.read_text() == "old" if option != "--figures" else not list(target.iterdir())


def test_apply_on_a_full_disk(tmp_path: Path, full_disk: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from calotype import apply

    def stylize(*_: Any, **__: Any) -> Any:
        yield "first.png"
        with whole_file(tmp_path / "second.png") as partial:
            partial.write_text("new")

    (tmp_path / "second.png").write_text("old")
    monkeypatch.setattr(apply, "stylize", stylize)
    code, out, error = left_by(capsys, apply_main, "RUN", "stylize", "a.jpg", "--out", str(tmp_path))
    assert (code, out) == (1, "first.png\n")
    (line,) = error.splitlines()
    assert line.startswith(f"calotype: {tmp_path}/second.png: ")
    assert (tmp_path / "second.png").read_text() == "old"


@pytest.mark.parametrize("where", ["file/x", "/proc/x", "x" * 300, "/dev/null/x"])
def test_paths_that_lead_nowhere(where: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from calotype import apply

    def enroll(*_: Any, **__: Any) -> list[str]:
        Gallery("model", 0.01).save(Path(where))
        return []

    monkeypatch.setattr(apply, "enroll", enroll)
    Path("file").write_text("old")
    write_run(Path("runs/a"), 0, {"test/eer": 0.1})
    gallery = ["RUN", "gallery", "add", "Ada", "a.jpg", "--gallery", where]
    commands: list[tuple[Callable[[list[str]], None], list[str]]] = [
        (report_main, ["runs", "--page", where]),
        (report_main, ["runs", "--figures", where]),
        (report_main, ["runs/a", "--bundle", where]),
        (apply_main, gallery),
        (main, ["debug=fast", f"hydra.run.dir={where}"]),
        (main, ["-m", "seed=0,1", *FAST, f"hydra.sweep.dir={where}"]),
    ]
    for command, arguments in commands:
        code, _, error = left_by(capsys, command, *arguments)
        assert code in (1, 2)
        lines = [line for line in error.splitlines() if line.startswith("calotype: ")]
        assert len(lines) == 1, error
        assert "Traceback" not in error
    assert Path("file").read_text() == "old"


def test_a_device_is_no_gallery() -> None:
    with pytest.raises(UserError, match="not a gallery"):
        Gallery.load(Path("/dev/zero"))


def test_a_sweep_on_a_full_disk(full_disk: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is started: the sweep could not even note what it is."""
    code, _, error = left_by(capsys, main, "-m", "seed=0,1", *FAST)
    assert code == 1
    (line,) = [line for line in error.splitlines() if line.startswith("calotype: ")]
    assert "sweep.json" in line
    assert not list(Path.cwd().rglob("run.json"))


# Numbers.


@pytest.mark.parametrize(
    "arguments",
    [
        ["RUN", "classify", "a.jpg", "--top", "0"],
        ["RUN", "classify", "a.jpg", "--top=-1"],
        ["RUN", "classify", "a.jpg", "--top", "1e3"],
        ["RUN", "classify", "a.jpg", "--top", "9" * 5000],
        ["RUN", "classify", "a.jpg", "--top", "two"],
        ["RUN", "enroll", "people", "--gallery", "g", "--fpir", "0"],
        ["RUN", "enroll", "people", "--gallery", "g", "--fpir", "1"],
        ["RUN", "enroll", "people", "--gallery", "g", "--fpir", "nan"],
        ["RUN", "gallery", "add", "Ada", "a.jpg", "--gallery", "g", "--fpir=-0.1"],
        ["RUN", "sample", "--out", "o", "--n", "0"],
        ["RUN", "sample", "--out", "o", "--n", "9" * 20],
        ["RUN", "sample", "--out", "o", "--temperature", "nan"],
        ["RUN", "sample", "--out", "o", "--temperature=-1"],
        ["RUN", "sample", "--out", "o", "--temperature", "inf"],
        ["RUN", "stylize", "a.jpg", "--out", "o", "--tile-pixels", "0"],
        ["RUN", "translate", "a.jpg", "--out", "o", "--tile-pixels=-3"],
    ],
)
def test_numbers_of_apply_out_of_range(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = left_by(capsys, apply_main, *arguments)
    assert code == 2
    (line,) = error.splitlines()
    assert " number " in line
    assert len(line) < 200


def test_numbers_of_a_battle_out_of_range(capsys: pytest.CaptureFixture[str]) -> None:
    for option in (["--n", "0"], ["--seed=-1"], ["--seed", "1.5"]):
        code, _, error = left_by(capsys, report_main, "battle", "A", "B", *option)
        assert code == 2
        assert "a whole number " in error


# Metrics of classes with commas.


def test_names_with_commas() -> None:
    known = {"test/recall/a,b", "test/recall/a", "test/accuracy"}
    assert split_names("test/accuracy,test/recall/a,b", known) == ["test/accuracy", "test/recall/a,b"]
    assert split_names("test/recall/a,b,test/accuracy", known) == ["test/recall/a,b", "test/accuracy"]
    assert split_names("test/recall/a,test/accuracy,", known) == ["test/recall/a", "test/accuracy"]
    assert split_names("x,test/accuracy,test/accuracy", known) == ["x", "test/accuracy"]
    for empty in ("", ",", " , "):
        with pytest.raises(UserError, match="names of metrics"):
            split_names(empty, known)


def test_a_class_with_a_comma_in_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import csv

    name = 'test/recall/a,"b"|\n\x1b[31m'
    write_run(tmp_path / "a", 0, {name: 0.25, "test/accuracy": 0.5})
    report_main([str(tmp_path), "--form", "csv", "--metrics", f"{name},test/accuracy"])
    head, row = csv.reader(capsys.readouterr().out.splitlines(keepends=True))
    assert dict(zip(head, row, strict=True))[printable(name)] == "0.25"  # what a terminal would obey is escaped
    assert dict(zip(head, row, strict=True))["test/accuracy"] == "0.5"
    for form, lines in (("terminal", 3), ("markdown", 5), ("latex", 8)):
        report_main([str(tmp_path), "--form", form, "--metrics", name])
        out = capsys.readouterr().out
        assert out.count("\n") == lines
        assert "\x1b" not in out
        assert "0.25" in out
    code, _, error = left_by(capsys, report_main, str(tmp_path), "--metrics", "test/acuracy")
    assert code == 2
    assert "did you mean test/accuracy?" in error
    assert error.count("\n") == 1


# Bundles.


def test_a_bundle_holds_what_tells_how_a_run_went(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "home" / "grace" / "run"
    root = f"{tmp_path}/home/grace/photos"
    write_run(folder, 0, {"test/eer": 0.1}, f"dataset.root={root}", dataset={"root": root})
    record = json.loads((folder / "run.json").read_text())
    record |= {"host": "alonzo", "cwd": f"{tmp_path}/home/grace", "pid": 77, "error": f"{root}/a.png: not an image"}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "run.log").write_text(f'  File "{tmp_path}/home/grace/x.py", line 3\nfrom alonzo: no\n')
    (folder / "metrics.csv").write_text("step,epoch,name,value\n0,0,train/loss,1\n")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").write_text("weights")
    report_main([str(folder), "--bundle"])
    assert "bundle  bundle-run.zip  (config.yaml, metrics.csv, metrics.json, run.json, run.log)" in capsys.readouterr().out
    with zipfile.ZipFile("bundle-run.zip") as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert sorted(texts) == [f"bundle-run/{name}" for name in ("config.yaml", "metrics.csv", "metrics.json", "run.json", "run.log")]
    for text in texts.values():
        assert not any(secret in text for secret in ("grace", "alonzo", str(tmp_path), "/home", "weights"))
    told = json.loads(texts["bundle-run/run.json"])
    assert told["overrides"][0] == "dataset.root=…/photos"
    assert told["error"] == "…/photos/a.png: not an image"
    assert "…/x.py" in texts["bundle-run/run.log"]
    assert json.loads(texts["bundle-run/metrics.json"]) == {"test/eer": 0.1}


def test_a_bundle_of_a_damaged_run_says_what_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run", 0, {"test/eer": 0.1})
    (tmp_path / "run" / "config.yaml").write_text("a: [")
    code, out, error = left_by(capsys, report_main, str(tmp_path / "run"), "--bundle", str(tmp_path / "b.zip"))
    assert code == 1
    assert "FAULTS.txt" in out
    assert "config.yaml: damaged" in error
    code, _, error = left_by(capsys, report_main, str(tmp_path), "--bundle")
    assert "not a run folder" in error
    code, _, error = left_by(capsys, report_main, "a", "b", "--bundle")
    assert "of one run" in error


# Completion.


@pytest.mark.parametrize(
    ("line", "expected", "absent"),
    [
        ("experiment=", ["experiment=gan/", "experiment=facenet/"], "experiment=gan/mnist"),
        ("experiment=gan/", ["experiment=gan/mnist", "experiment=gan/ring"], "experiment=facenet/"),
        ("experiment=gan/r", ["experiment=gan/ring"], "experiment=gan/mnist"),
        ("model=", ["model=mlp", "model=gan/"], "model=dip/deep_decoder"),
        ("loss=gan/h", ["loss=gan/hinge"], "loss=gan/minimax"),
        ("-m task=g", ["task=gan"], "task=dip"),
        ("trainer.max_", ["trainer.max_epochs="], "trainer.profiler="),
        ("optimizer.lr=", [], "optimizer.lr=adam"),
    ],
)
def test_completion_of_options(
    line: str, expected: list[str], absent: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", f"calotype {line}")
    monkeypatch.setenv("COMP_POINT", str(len(line) + 9))
    main(["-sc", "query=bash"])
    words = capsys.readouterr().out.split()
    assert set(expected) <= set(words)
    assert absent not in words


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
@pytest.mark.parametrize("command", [apply_main, report_main, rerun_main])
def test_completion_of_the_other_commands(command: Callable[[list[str]], None], shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, script, error = left_by(capsys, command, "--print-completion", shell)
    assert (code, error) == (0, "")
    assert "print-completion" in script
    if command is apply_main:
        assert "stylize" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)

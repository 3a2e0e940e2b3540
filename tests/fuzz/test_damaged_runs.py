"""A short instance of `damaged_runs.py`, and the damages that were once not found, by name."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest
import yaml

from calotype.cli_report import report_main
from calotype.records import read_record
from calotype.report.runs import find_runs, read_run
from calotype.types import UserError
from fuzz import damaged_runs
from helpers import write_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return damaged_runs.make_run(tmp_path_factory.mktemp("fuzz") / "run")


def test_a_damaged_run_is_named_by_every_command(whole: Path) -> None:
    counts, faults = damaged_runs.fuzz(whole, 150, seed=7, each=1)
    assert faults == []
    assert counts["named"] > 100


def test_commands_take_the_run_that_is_not_damaged(whole: Path, tmp_path: Path) -> None:
    """Without this, refusing everything would pass."""
    shutil.copytree(whole, tmp_path / "copy")
    known = damaged_runs.commands(whole, tmp_path / "copy", tmp_path)
    ends = {name: damaged_runs.run_command(command).kind for name, command in known.items()}
    assert {name for name, kind in ends.items() if kind != "silent"} == {"battle"}  # it is no GAN


@pytest.mark.parametrize("name", damaged_runs.FILES)
def test_any_bit_of_any_file(name: str, whole: Path, tmp_path: Path) -> None:
    """The first, the last and some others: none gives another run."""
    shutil.copytree(whole, tmp_path / "copy")
    path = tmp_path / "copy" / name
    data = path.read_bytes()
    right = read_run(tmp_path / "copy")
    named = []
    for position in {0, len(data) - 1, *random.Random(0).sample(range(len(data)), 60)}:
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        try:
            found = read_run(tmp_path / "copy")
        except UserError as error:
            named.append(f"{name}: " in str(error))
        else:  # white space in run.json
            assert (found.record, found.config, found.metrics) == (right.record, right.config, right.metrics)
    assert all(named)
    assert len(named) > 40
    path.write_bytes(data)
    assert read_record(tmp_path / "copy") == right.record


BROKEN = {
    "run.json": {
        "not UTF-8": b'{"task": "\xe9"}',
        "a surrogate": b'{"format": 2, "task": "\\ud800", "seed": 0, "status": "finished"}',
        "deep": b"[" * 100_000,
        "a list": b"[]",
        "seed": b'{"format": 2, "task": "a", "seed": [1], "status": "finished"}',
        "overrides": b'{"format": 2, "task": "a", "seed": 1, "status": "finished", "overrides": [[1]]}',
        "a huge seed": b'{"format": 2, "task": "a", "seed": 1' + b"0" * 60 + b', "status": "finished"}',
        "seconds": b'{"format": 2, "task": "a", "seed": 1, "status": "finished", "wall_seconds": 1e999}',
        "status": b'{"format": 2, "task": "a", "seed": 1, "status": "finiched"}',
        "start": b'{"format": 2, "task": "a", "seed": 1, "status": "finished", "start": "yesterday"}',
    },
    "metrics.json": {
        "NaN": b'{"test/eer": NaN}',
        "huge": b'{"test/eer": 1e300}',
        "huge whole": b'{"test/eer": 1' + b"0" * 400 + b"}",
        "text": b'{"test/eer": "0.1"}',
        "true": b'{"test/eer": true}',
    },
    "metrics.csv": {
        "not UTF-8": b"step,epoch,name,value\n0,0,train/\xe9,1\n",
        "heading": b"a,b\n1,2\n",
        "a step": b"step,epoch,name,value\nx,0,train/loss,1\n",
        "huge step": b"step,epoch,name,value\n" + b"9" * 40 + b",0,train/loss,1\n",
        "a null": b"step,epoch,name,value\n0,0,train/\x00,1\n1,,\n",
        "more": b"step,epoch,name,value\n0,0,train/loss,1,2,3\n",
    },
    "config.yaml": {
        "not UTF-8": b"name: \xe9\n",
        "a list": b"[1]\n",
        "a set": b"name: !!set {a}\n",
        "bytes": b"name: !!binary aGVsbG8=\n",
        "a key": b"? [1, 2]\n: 3\n",
        "recursive": b"a: &a [*a]\n",
        "bomb": b"a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + b"".join(b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 10)) for i in range(12)),
        "empty": b"",
    },
}


@pytest.mark.parametrize(("name", "what"), [(name, what) for name, ways in BROKEN.items() for what in ways])
def test_a_file_of_a_run_without_a_seal_is_checked_where_it_is_read(
    name: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "good", 0, {"test/eer": 0.1})
    write_run(tmp_path / "bad", 1, {"test/eer": 0.1})
    (tmp_path / "bad" / name).write_bytes(BROKEN[name][what])
    with pytest.raises(SystemExit) as left:
        report_main([str(tmp_path), "--page", str(tmp_path / "page.html"), "--figures", str(tmp_path / "figures")])
    assert left.value.code == 1
    printed = capsys.readouterr()
    (line,) = [line for line in printed.err.splitlines() if line.startswith("calotype: ")]
    assert line.startswith(f"calotype: left out: {tmp_path}/bad/{name}: damaged (")
    assert "0.1000" in printed.out


@pytest.mark.parametrize("name", damaged_runs.FILES)
@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_what_is_no_file_is_not_waited_for(kind: str, name: str, tmp_path: Path) -> None:
    write_run(tmp_path / "bad", 1, {"test/eer": 0.1})
    path = tmp_path / "bad" / name
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path)
    runs, damaged = find_runs([tmp_path])
    assert runs == []
    assert len(damaged) == 1
    assert f"{name}: " in damaged[0]


def test_a_truncated_record_of_a_finished_run_is_named(tmp_path: Path) -> None:
    write_run(tmp_path / "bad", 1, {"test/eer": 0.1})
    (tmp_path / "bad" / "run.json").write_text("")
    assert len(find_runs([tmp_path])[1]) == 1


def test_names_that_are_formulas_or_paths(tmp_path: Path) -> None:
    """Of a figure's file, and of its labels."""
    for seed, margin in enumerate((1, 2)):
        names = {"test/$\\frac$": 0.1, "test/a b": 0.2, "test/a,b": 0.3, f"test/{'x' * 300}": 0.4}
        write_run(tmp_path / str(seed), 0, names, f"loss.margin={margin}", task="../../x", loss={"margin": margin})
    report_main([str(tmp_path), "--figures", str(tmp_path / "out" / "figures")])
    made = [path.name for path in (tmp_path / "out" / "figures").iterdir()]
    assert len(made) == len(set(made)) == 2 * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "out"]
    assert all(len(name) < 80 and "/" not in name for name in made)


def test_evidence_that_is_damaged_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = {
        "a": b'{"command": ["x"], "config_hash": "1"}',
        "b": b'{"overrides": [[1]], "config_hash": "1"}',
        "c": b'{"command": "\xe9", "config_hash": "1"}',
        "d": b'{"command": "calotype", "config_hash": 1}',
        "e": b'{"config_hash": "1"}',
        "f": b'["command"]',
        "g": b'{"command": "calotype \'", "config_hash": "1"}',
    }
    for name, data in broken.items():
        (tmp_path / f"{name}.json").write_bytes(data)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(SystemExit) as left:
        report_main(["check", str(tmp_path)])
    assert left.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert [": damaged (" in line for line in lines] == [True] * 7 + [False]


def test_the_seal_of_a_run(whole: Path, tmp_path: Path) -> None:
    """It holds for the files that lie there; a run that goes on, or is of an earlier version, has none."""
    record = read_record(whole)
    assert sorted(record["files"]) == ["config.yaml", "metrics.csv", "metrics.json"]
    shutil.copytree(whole, tmp_path / "copy")
    config = tmp_path / "copy" / "config.yaml"
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "seed": 1}))
    with pytest.raises(UserError, match=r"config.yaml: damaged \(its checksum is not right\)"):
        read_record(tmp_path / "copy")
    plain = {key: value for key, value in record.items() if key not in ("files", "checksum")}
    (tmp_path / "copy" / "run.json").write_text(json.dumps(plain))
    read_record(tmp_path / "copy")
    for key in ("files", "checksum"):
        (tmp_path / "copy" / "run.json").write_text(json.dumps({k: v for k, v in record.items() if k != key}))
        with pytest.raises(UserError, match=r"run.json: damaged \(its checksum is not right\)"):
            read_record(tmp_path / "copy")

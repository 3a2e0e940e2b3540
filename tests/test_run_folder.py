"""The claim of a run folder: one process at a time, whatever is cut off or full; and who is still alive."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calotype import run_folder, sweep
from calotype.cli_report import report_main
from calotype.records import FORMAT, read_json
from calotype.report.runs import find_runs, read_run
from calotype.run_folder import HEARTBEAT, HEARTBEAT_MAX_AGE, RunRecord, TakenError, is_running, wait_while_running, was_cut_off
from calotype.types import UserError
from helpers import write_run


def of_another_host(folder: Path, age: float, **fields: object) -> dict[str, object]:
    """A running run of a host that cannot be asked, whose last heartbeat is `age` seconds old."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"format": FORMAT, "task": "facenet", "seed": 0, "status": "running", "host": "another", "pid": 1, **fields}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / HEARTBEAT).touch()
    for name in ("run.json", HEARTBEAT):
        os.utime(folder / name, (time.time() - age,) * 2)
    return record


def test_run_json_appears_with_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody ever sees it empty: it gets its name when it is whole."""
    sizes = []
    real = os.link

    def link(source: Path, target: Path) -> None:
        assert not Path(target).exists()
        real(source, target)
        sizes.append(Path(target).stat().st_size)

    monkeypatch.setattr(os, "link", link)
    RunRecord.start(tmp_path / "r", seed=1).finish("finished")
    assert sizes
    assert min(sizes) > 100
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["run.json"]
    assert next(iter(read_json(tmp_path / "r" / "run.json").items())) == ("format", FORMAT)


def test_what_has_begun_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between the two leaves a config without a record, which is no run, and not a record without a config."""
    create, seen = run_folder._create_json, []
    monkeypatch.setattr(run_folder, "_create_json", lambda *given: seen.append(read(tmp_path / "r")) or create(*given))
    RunRecord.start(tmp_path / "r", config="a: 1\n").finish("interrupted")
    RunRecord.go_on(tmp_path / "r", config="a: 2\n").finish("interrupted")
    assert seen == ["a: 1\n"]
    assert read(tmp_path / "r") == "a: 2\n"


def read(folder: Path) -> str:
    return (folder / "config.yaml").read_text()


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    RunRecord.start(tmp_path / "r").finish("finished")
    with pytest.raises(TakenError, match="holds a run already"):
        RunRecord.start(tmp_path / "r")


def test_an_empty_record_is_a_run_that_has_not_begun(tmp_path: Path) -> None:
    write_run(tmp_path / "other", 0, {"test/eer": 0.1})
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "run.json").touch()
    assert sweep.state(tmp_path / "r") == "new"
    assert find_runs([tmp_path])[1] == []
    RunRecord.start(tmp_path / "r").finish("finished")
    assert read_json(tmp_path / "r" / "run.json")["status"] == "finished"


@pytest.mark.parametrize("what", ["_reserve", "write_json"])
def test_a_disk_that_is_full_at_the_claim(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object) -> None:
        (path / ".reserve" if path.is_dir() else path).write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(run_folder, what, full)
    with pytest.raises(UserError, match=r"r: the run cannot begin \(No space left on device\); free some space") as told:
        RunRecord.start(tmp_path / "r")
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    RunRecord.start(tmp_path / "r").finish("finished")


CLAIM = """
import sys
from pathlib import Path
from calotype.run_folder import RunRecord, TakenError
print("ready", flush=True)
sys.stdin.readline()
try:
    record = (RunRecord.go_on if sys.argv[2] == "go_on" else RunRecord.start)(Path(sys.argv[1]))
    print("mine", flush=True)
    sys.stdin.readline()
except TakenError:
    print("taken", flush=True)
"""


@pytest.mark.parametrize("how", ["start", "go_on"])
def test_one_of_many_claims_a_folder(how: str, tmp_path: Path) -> None:
    """Eight processes at once, of a new run and of one that was cut off."""
    folder = tmp_path / "r"
    if how == "go_on":
        RunRecord.start(folder).finish("interrupted")
    command = [sys.executable, "-c", CLAIM, str(folder), how]
    pipe = subprocess.PIPE
    claimants = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(8)]
    for one in claimants:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in claimants:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    results = [one.stdout.readline().strip() for one in claimants if one.stdout is not None]
    assert sorted(results) == ["mine"] + ["taken"] * 7
    for one in claimants:
        one.communicate("\n")


def test_the_heartbeat_is_refreshed_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "HEARTBEAT_SECONDS", 0.01)
    record = RunRecord.start(tmp_path / "r")
    beat = tmp_path / "r" / HEARTBEAT
    os.utime(beat, (0, 0))
    deadline = time.monotonic() + 30
    while beat.stat().st_mtime < 1000 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert time.time() - beat.stat().st_mtime < HEARTBEAT_MAX_AGE
    beat.unlink()  # a disk that does not answer does not fail the run
    time.sleep(0.05)
    record.finish("finished")
    assert not beat.exists()


def test_a_run_of_another_host_is_alive_while_its_heart_beats(tmp_path: Path) -> None:
    fresh = of_another_host(tmp_path / "fresh", HEARTBEAT_MAX_AGE - 60)
    stale = of_another_host(tmp_path / "stale", HEARTBEAT_MAX_AGE + 60)
    assert is_running(fresh, tmp_path / "fresh")
    assert not is_running(stale, tmp_path / "stale")
    assert was_cut_off(stale, tmp_path / "stale")
    assert not was_cut_off(fresh, tmp_path / "fresh")
    assert [sweep.state(tmp_path / name) for name in ("fresh", "stale")] == ["running", "interrupted"]
    for name, status in (("fresh", "running"), ("stale", "interrupted")):
        (tmp_path / name / "config.yaml").write_text("name: study\n")
        assert read_run(tmp_path / name).status == status
    with pytest.raises(TakenError, match="is still running"):
        RunRecord.go_on(tmp_path / "fresh")


def test_what_runs_elsewhere_is_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "r"
    lines = []

    def when_told(line: str, **_: object) -> None:
        lines.append(line)
        of_another_host(folder, 0, status="finished")

    of_another_host(folder, 0)
    monkeypatch.setattr(run_folder, "echo", when_told)
    monkeypatch.setattr(run_folder, "POLL_SECONDS", 0.01)
    assert wait_while_running(folder)
    assert lines == ["waiting for  r, which runs elsewhere (process 1 of another)"]
    assert not wait_while_running(folder)


@pytest.mark.parametrize("number", [None, 1, FORMAT + 1])
def test_a_record_of_another_format(number: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "ours", 0, {"test/eer": 0.1})
    write_run(tmp_path / "theirs", 1, {"test/eer": 0.1}, status="interrupted")
    record = read_json(tmp_path / "theirs" / "run.json")
    record.pop("format")
    (tmp_path / "theirs" / "run.json").write_text(json.dumps(record if number is None else {"format": number, **record}))
    message = f"run.json: written by another version of Calotype (format {number or 1}, this one reads {FORMAT}); run it again"
    for read in (read_run, sweep.state, RunRecord.go_on):
        with pytest.raises(UserError) as told:
            read(tmp_path / "theirs")
        assert str(told.value).endswith(message)
    with pytest.raises(SystemExit):
        report_main([str(tmp_path)])
    printed = capsys.readouterr()
    assert "0.1" in printed.out
    assert f"left out: {tmp_path}/theirs/{message}" in printed.err

"""Which runs are one row, what is said of those that are missing, and the forms of a table."""

from __future__ import annotations

import csv
import io
import json
import math
import socket
from pathlib import Path

import pytest

from calotype.cli_report import report_main
from calotype.records import SWEEP
from calotype.report.runs import by_task, find_runs, rows
from calotype.report.table import make_table, text
from calotype.types import UserError
from helpers import write_run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for margin in (0.1, 0.2):
        for seed in range(3):
            figure = {"test/eer": 0.1 * margin + 0.01 * seed, "test/rank1": 0.9}
            write_run(tmp_path / f"{margin}-{seed}", seed, figure, f"loss.margin={margin}", loss={"margin": margin})
    return tmp_path


def test_rows_are_settings_and_their_runs_the_seeds(study: Path) -> None:
    runs, damaged = find_runs([study])
    assert not damaged
    table = rows(runs)
    assert [row.settings for row in table] == [{"loss.margin": "0.1"}, {"loss.margin": "0.2"}]
    assert [[run.seed for run in row.runs] for row in table] == [[0, 1, 2], [0, 1, 2]]
    assert not any(row.notes for row in table)


def test_a_default_is_the_same_setting_as_the_value_typed(tmp_path: Path) -> None:
    write_run(tmp_path / "typed", 0, {"test/eer": 0.1}, "loss.margin=0.2", loss={"margin": 0.2})
    write_run(tmp_path / "default", 1, {"test/eer": 0.2}, loss={"margin": 0.2})
    write_run(tmp_path / "other", 0, {"test/eer": 0.2}, "loss.margin=0.5", loss={"margin": 0.5})
    table = rows(find_runs([tmp_path])[0])
    assert [(row.settings, len(row.runs)) for row in table] == [({"loss.margin": "0.2"}, 2), ({"loss.margin": "0.5"}, 1)]


def test_what_no_override_tells_apart_the_config_does(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0, {"test/eer": 0.1}, loss={"margin": 0.2})
    write_run(tmp_path / "b", 0, {"test/eer": 0.1}, loss={"margin": 0.3})
    assert [row.settings for row in rows(find_runs([tmp_path])[0])] == [{"loss.margin": "0.2"}, {"loss.margin": "0.3"}]


def test_a_group_that_was_not_typed_shows_its_default(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0, {"test/eer": 0.1}, model={"width": 4})
    write_run(tmp_path / "b", 0, {"test/eer": 0.1}, "model=small", model={"width": 2})
    record = tmp_path / "a" / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "choices": {"model": "large", "experiment": None}}))
    assert [row.settings for row in rows(find_runs([tmp_path])[0])] == [{"model": "large"}, {"model": "small"}]


def test_what_a_group_takes_over_whole_is_no_setting_of_its_own(tmp_path: Path) -> None:
    for name, width in (("a", 2), ("b", 4)):
        model = {"width": width, "part": {"depth": width}}
        write_run(tmp_path / name, 0, {"test/eer": 0.1}, model=model, loss={"margin": {"width": 2}})
    found = [row.settings for row in rows(find_runs([tmp_path])[0])]
    assert found == [{"model.part.depth": "2", "model.width": "2"}, {"model.part.depth": "4", "model.width": "4"}]


def test_jobs_that_have_not_begun_are_told(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / SWEEP).write_text(json.dumps({"folders": ["0.1-0", "0.2-0", "never", "nor this"]}))
    report_main([str(study)])
    assert f"{study}: 2 of the sweep's 4 jobs have not begun" in capsys.readouterr().err


def test_missing_failed_and_repeated_seeds_are_told(study: Path) -> None:
    write_run(study / "failed", 3, {}, "loss.margin=0.1", status="failed", loss={"margin": 0.1})
    write_run(
        study / "again", 0, {"test/eer": 0.5, "test/rank1": 0.9}, "loss.margin=0.2", start="2026-01-02T00:00:00", loss={"margin": 0.2}
    )
    first, second = rows(find_runs([study])[0])
    assert first.notes == ["seed 3: failed"]
    assert second.notes == ["seed 0: the newest of 2 runs", "seed 3: missing"]
    assert second.figures("test/eer")[0] == 0.5


def test_baseline_and_forms(study: Path) -> None:
    runs = find_runs([study])[0]
    table = make_table("facenet", runs, ["test/eer"], {"loss.margin": "0.1"})
    assert [[round(cell.mean, 6), cell.n] for row in table.cells for cell in row] == [[0.02, 3], [0.03, 3]]
    assert table.p is not None
    assert table.p[1] == [0.0]  # every seed by the same 0.01
    read = list(csv.DictReader(io.StringIO(text(table, "csv"))))
    assert [row["loss.margin"] for row in read] == ["0.1", "0.2"]
    assert float(read[1]["test/eer"]) == pytest.approx(0.03)
    assert float(read[1]["test/eer sd"]) == pytest.approx(0.01)
    assert read[0]["test/eer p"] == ""
    markdown = text(table, "markdown").splitlines()
    assert markdown[2].count("|") == markdown[3].count("|") == markdown[4].count("|")
    assert "0.0300 ± 0.0100" in markdown[5]
    assert "<0.001" in markdown[5]
    latex = text(table, "latex")
    assert r"test/eer & 95 \%" in latex
    assert latex.count(r"\\") == 3
    assert "$\\pm$" in latex
    assert "0.0300 ± 0.0100" in text(table, "terminal")
    note = "p: paired t-test over seeds against loss.margin=0.1; corrected (Holm)"
    assert all(text(table, form).count(note) == 1 for form in ("terminal", "markdown", "latex"))
    assert note not in text(table, "csv")
    assert "p: paired" not in text(make_table("facenet", runs, ["test/eer"]), "terminal")
    assert "Mean ±" not in text(make_table("facenet", [run for run in runs if run.seed == 0]), "terminal")  # a seed has no spread


def test_a_baseline_for_each_of_the_remaining_settings(tmp_path: Path) -> None:
    for width, gain in ((2, 0.01), (4, 0.0)):
        for margin in (0.1, 0.2):
            for seed in range(3):
                eer = 0.1 * width + gain * (margin == 0.2) + 0.001 * seed
                settings = {"loss": {"margin": margin}, "model": {"width": width}}
                write_run(
                    tmp_path / f"{width}-{margin}-{seed}",
                    seed,
                    {"test/eer": eer},
                    f"loss.margin={margin}",
                    f"model.width={width}",
                    **settings,
                )
    runs = find_runs([tmp_path])[0]
    table = make_table("facenet", runs, ["test/eer"], {"loss.margin": "0.1"})
    assert table.p is not None
    found = {(row.settings["loss.margin"], row.settings["model.width"]): p for row, (p,) in zip(table.rows, table.p, strict=True)}
    assert all(math.isnan(found["0.1", width]) for width in ("2", "4"))
    assert (found["0.2", "2"], found["0.2", "4"]) == (0.0, 1.0)  # always by the same 0.01, and by nothing
    write_run(tmp_path / "alone", 0, {"test/eer": 0.1}, "loss.margin=0.2", "model.width=8", loss={"margin": 0.2}, model={"width": 8})
    with pytest.raises(
        UserError, match=r"--baseline loss.margin=0.1: 2 rows of that setting, none like loss.margin=0.2 model.width=8; rows"
    ):
        make_table("facenet", find_runs([tmp_path])[0], ["test/eer"], {"loss.margin": "0.1"})


def test_a_baseline_of_settings_that_change_together(tmp_path: Path) -> None:
    """As in a paired sweep: who names one of them has named both."""
    for rate, batch in ((0.1, 8), (0.2, 16)):
        for margin in (1, 2):
            settings = {"rate": rate, "batch": batch, "margin": margin}
            for seed in range(2):
                figure = {"test/eer": rate + 0.01 * seed * margin}
                write_run(tmp_path / f"{rate}-{margin}-{seed}", seed, figure, *(f"{k}={v}" for k, v in settings.items()), **settings)
    table = make_table("facenet", find_runs([tmp_path])[0], ["test/eer"], {"rate": "0.1"})
    assert table.p is not None
    assert [math.isnan(p) for (p,) in table.p] == [True, True, False, False]
    assert "rate=0.1, each row against the one that agrees with it in all else" in text(table, "terminal")


def test_a_figure_that_is_not_finite_is_not_averaged(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0, {"test/eer": None})
    write_run(tmp_path / "b", 1, {"test/eer": 0.25})
    table = make_table("facenet", find_runs([tmp_path])[0], ["test/eer"])
    assert (table.cells[0][0].mean, table.cells[0][0].n) == (0.25, 1)


def test_bad_input(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = find_runs([study])[0]
    with pytest.raises(UserError, match=r"--metrics none: no run of task facenet has it \(there are: test/eer, test/rank1\)"):
        make_table("facenet", runs, ["none"])
    with pytest.raises(UserError, match=r"--metrics test/er: no run of task facenet has it; did you mean test/eer\?"):
        make_table("facenet", runs, ["test/er"])
    with pytest.raises(UserError, match=r"--baseline loss\.margn: no row has that setting; did you mean loss\.margin\?"):
        make_table("facenet", runs, [], {"loss.margn": "0.1"})
    with pytest.raises(UserError, match=r"--baseline loss\.margin=9: no row of that setting; rows: loss\.margin=0\.1; loss\.margin=0\.2"):
        make_table("facenet", runs, [], {"loss.margin": "9"})
    with pytest.raises(UserError, match="2 rows of that setting"):
        make_table("facenet", runs, [], {})
    empty = study / "empty"
    empty.mkdir()
    with pytest.raises(SystemExit) as left:
        report_main([str(empty)])
    assert left.value.code == 1
    assert "no run below it" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        report_main([str(study / "absent")])
    assert "no such folder" in capsys.readouterr().err


def test_a_command_that_is_misspelt(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        report_main(["chek", "experiments"])
    assert "chek: no such folder; did you mean calotype-report check?" in capsys.readouterr().err


def test_two_tasks_and_a_damaged_run(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(study / "digits", 0, {"test/accuracy": 0.9}, task="classification")
    broken = study / "0.1-0" / "metrics.json"
    broken.write_text(broken.read_text()[:-5])
    with pytest.raises(SystemExit) as left:
        report_main([str(study)])
    assert left.value.code == 1
    told = capsys.readouterr()
    assert "runs of 2 tasks, a table for each: classification, facenet" in told.err
    assert f"left out: {broken}: damaged" in told.err
    assert "seed 0: missing" in told.out  # of the row whose run was left out
    assert list(by_task(find_runs([study])[0])) == ["classification", "facenet"]


def test_a_metric_is_of_the_tasks_that_have_it(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(study / "digits", 0, {"test/accuracy": 0.9}, task="classification")
    report_main([str(study), "--metrics", "test/eer"])
    told = capsys.readouterr().out
    assert "test/eer" in told
    assert "classification" not in told
    with pytest.raises(SystemExit):
        report_main([str(study), "--metrics", "test/none"])
    assert "--metrics test/none: no run of task classification has it" in capsys.readouterr().err


def test_seeds_are_missing_in_their_own_sweep_alone(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / "one" / f"{seed}", seed, {"test/eer": 0.1}, "loss.margin=0.2", loss={"margin": 0.2})
    for seed in (7, 8):
        write_run(tmp_path / "two" / f"{seed}", seed, {"test/eer": 0.1}, "loss.margin=0.5", loss={"margin": 0.5})
    write_run(tmp_path / "two" / "9", 7, {"test/eer": 0.1}, "loss.margin=0.6", loss={"margin": 0.6})
    assert [row.notes for row in rows(find_runs([tmp_path])[0])] == [[], [], ["seed 8: missing"]]


def test_a_run_whose_process_is_gone_is_not_running(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0, {"test/eer": 0.1})
    for name, seed, host in (("b", 1, socket.gethostname()), ("c", 2, "another")):
        write_run(tmp_path / name, seed, {}, status="running")
        record = tmp_path / name / "run.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "host": host, "pid": 2**22 + 1}))
    assert rows(find_runs([tmp_path])[0])[0].notes == ["seed 1: interrupted", "seed 2: running"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--page", "."], "--page .: a folder; name a file in it, as runs.html"),
        (["--figures", "run.json"], "--figures run.json: File exists; give another path"),
        (["--baseline", "margin"], "--baseline margin: settings of a row, as KEY=VALUE"),
    ],
)
def test_what_a_report_can_not_do_is_one_line(
    options: list[str], message: str, study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study / "0.1-0")
    with pytest.raises(SystemExit) as left:
        report_main([".", *options])
    assert left.value.code == (1 if "File exists" in message else 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line

"""The committed figures: the table is what the evidence says, and no evidence names this or that machine's folders."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from calotype.cli import main
from calotype.cli_report import report_main
from hydra_plugins.calotype_search.paired_sweeper import paired_jobs

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def test_table_is_made_from_the_evidence() -> None:
    spec = importlib.util.spec_from_file_location("record", EXPERIMENTS / "record.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (EXPERIMENTS / "README.md").read_text()
    assert text.partition(module.START)[2].partition(module.END)[0].strip() == module.table()
    front = (EXPERIMENTS.parent / "README.md").read_text()
    assert front.partition(module.GLANCE_START)[2].partition(module.END)[0].strip() == module.glance()


def test_evidence_is_of_clean_finished_runs_without_paths() -> None:
    files = list(EXPERIMENTS.glob("*/*.json"))
    assert files
    for path in files:
        evidence = json.loads(path.read_text())
        assert evidence["git_commit"], path
        assert not re.search(r'["\'=]/\w+/', path.read_text()), path


STUDIES = sorted(path.parent for path in EXPERIMENTS.glob("*/study.yaml"))


def jobs_of(study: Path) -> list[list[str]]:
    sweeper = yaml.safe_load((study / "study.yaml").read_text())["hydra"]["sweeper"]
    swept = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in sweeper["params"].items()])
    return paired_jobs(swept, sweeper.get("paired") or [])


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_every_study_composes(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["--config-dir", str(study), "--config-name", "study", "dry_run=true", f"paths.data_dir={tmp_path}"])
    assert f"sweep of {len(jobs_of(study))} runs in outputs/sweeps/{study.name}-" in capsys.readouterr().out


@pytest.mark.parametrize("study", [path for path in STUDIES if (path / "table.md").is_file()], ids=lambda path: path.name)
def test_the_table_of_a_study_is_made_from_its_runs(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command that stands in study.yaml; and there is a finished run for each of its jobs."""
    monkeypatch.chdir(EXPERIMENTS.parent)
    (command,) = re.findall(r"^#\s+calotype-report (.*)$", (study / "study.yaml").read_text(), re.MULTILINE)
    report_main(shlex.split(command))
    assert capsys.readouterr().out == (study / "table.md").read_text()
    records = [json.loads(path.read_text()) for path in study.glob("runs/*/run.json")]
    assert sorted(record["overrides"] for record in records) == sorted(jobs_of(study))
    for path in study.glob("runs/*/*"):
        assert not re.search(r"""["'= ]/\w+/""", path.read_text()), path

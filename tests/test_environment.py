"""Every installed package stands in run.json, and an environment can be rebuilt from it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from calotype.environment import environment_main
from calotype.rerun import _other_differences
from calotype.run_folder import RunRecord, distributions


@pytest.fixture
def fresh() -> None:
    """The list is read once in a process: forget it."""
    distributions.cache_clear()


def test_every_installed_distribution_is_recorded(tmp_path: Path) -> None:
    RunRecord.start(tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    installed = record["distributions"]

    names = {canonicalize_name(d.metadata["Name"]) for d in importlib.metadata.distributions()}
    assert set(installed) == names
    assert list(installed) == sorted(installed)
    for name in ("calotype", "pytorch-lightning", "pyyaml", "pillow", "matplotlib", "pytest"):
        assert installed[name] == importlib.metadata.version(name)

    # The short list is a part of the long one, besides Python itself.
    assert record["versions"].pop("python") == sys.version.split()[0]
    assert record["versions"].items() <= installed.items()
    assert "torch" in record["versions"]


@pytest.mark.usefixtures("fresh")
def test_first_on_the_path_counts_and_damaged_ones_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, version in (("first", "2.0"), ("second", "1.0")):
        info = tmp_path / folder / "Two_Words.x-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: Two_Words.x\nVersion: {version}\n")
    (tmp_path / "first" / "empty-1.0.dist-info").mkdir()
    (tmp_path / "first" / "nameless-1.0.dist-info").mkdir()
    (tmp_path / "first" / "nameless-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), str(tmp_path / "second")])

    found = dict(distributions())
    distributions.cache_clear()

    assert found == {"two-words-x": "2.0"}


def test_rerun_compares_all_distributions_where_both_runs_list_them() -> None:
    before = {"versions": {"python": "3.11.7", "torch": "2.14.1"}, "distributions": {"torch": "2.14.1", "libjpeg": "1"}}
    now = {"versions": {"python": "3.12.1", "torch": "2.14.1"}, "distributions": {"torch": "2.14.1", "libjpeg": "2", "new": "3"}}
    assert _other_differences(before, now) == [
        "libjpeg: 1 before, 2 now",
        "new: None before, 3 now",
        "python: 3.11.7 before, 3.12.1 now",
    ]
    assert _other_differences(before, before) == []

    # A record of an earlier version of this package has the short list only.
    del before["distributions"]
    assert _other_differences(before, now) == ["python: 3.11.7 before, 3.12.1 now"]


def test_environment_of_a_run_is_a_requirements_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RunRecord.start(tmp_path / "run")
    environment_main([str(tmp_path / "run")])
    lines = capsys.readouterr().out.splitlines()
    comments = [line for line in lines if line.startswith("#")]
    pins = {r.name: r for r in map(Requirement, (line for line in lines if not line.startswith("#")))}

    assert f"# Python {sys.version.split()[0]}" in comments
    assert set(pins) == set(distributions()) - {"calotype", "pip"}
    assert all(pins[name].specifier == f"=={distributions()[name]}" for name in pins)


def test_pip_finds_the_environment_of_a_run_installed(tmp_path: Path) -> None:
    """pip itself reads the file: where the run was made, there is nothing left to install."""
    RunRecord.start(tmp_path / "run")
    command = [sys.executable, "-m", "calotype.environment", str(tmp_path / "run")]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (tmp_path / "requirements.txt").write_text(text)

    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-index", "-r", str(tmp_path / "requirements.txt")]
    # A machine's own constraints are no part of the question.
    alone = {**{k: v for k, v in os.environ.items() if k != "PIP_CONSTRAINT"}, "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run(pip, capture_output=True, text=True, env=alone)

    assert done.returncode == 0, done.stderr
    assert "Would install" not in done.stdout


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (None, "no such file"),
        ({"versions": {"torch": "2.14.1"}}, "lists no distributions"),
        ({"distributions": {}}, "lists no distributions"),
    ],
)
def test_a_run_without_the_list(record: dict[str, object] | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if record is not None:
        (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit) as left:
        environment_main([str(tmp_path)])
    assert left.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert "run.json" in line

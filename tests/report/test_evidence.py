"""Committed figures whose config has changed since are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calotype.cli_report import report_main
from calotype.runner import compose_config
from calotype.schema import config_hash


def write(folder: Path, name: str, command: str, hashed: str) -> None:
    (folder / f"{name}.json").write_text(json.dumps({"command": command, "config_hash": hashed, "metrics": {}}))


def test_what_no_longer_matches_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = config_hash(compose_config(["experiment=gan/ring", "seed=3"]))
    write(tmp_path, "same", "calotype experiment=gan/ring seed=3", right)
    report_main(["check", str(tmp_path)])
    assert "1 of 1 files of evidence match" in capsys.readouterr().out
    write(tmp_path, "other_seed", "calotype experiment=gan/ring seed=4", right)
    write(tmp_path, "gone", "calotype experiment=gan/no_such", right)
    (tmp_path / "damaged.json").write_text('{"command": ')
    with pytest.raises(SystemExit) as left:
        report_main(["check", str(tmp_path)])
    assert left.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0].rpartition("/")[2] for line in lines[:3]] == ["damaged.json", "gone.json", "other_seed.json"]
    assert "damaged" in lines[0]
    assert "composes no config any more" in lines[1]
    assert f"was {right} and is" in lines[2]
    assert lines[3].startswith("1 of 4 files")


def test_no_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        report_main(["check", str(tmp_path)])
    assert "no evidence below it" in capsys.readouterr().err

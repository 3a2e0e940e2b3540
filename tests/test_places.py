"""Names and folders that would lie elsewhere are refused in one line, before anything is made."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import calotype
from calotype.check import ConfigError
from calotype.cli import main
from calotype.cli_report import report_main, rerun_main
from calotype.compose import compose_config
from calotype.rerun import rerun
from calotype.run_folder import FORMAT, is_name
from calotype.runner import _new_folder
from calotype.types import UserError
from helpers import FAST

REFUSED = {
    "name=../../x": "name=../../x: must be the name of a folder",
    "name=a/b": "name=a/b: ",
    "name=/tmp/x": "name=/tmp/x: ",
    "name='a\\b'": "name=a\\b: ",
    "name=..": "name=..: ",
    "name=.": "name=.: ",
    "name=": "name=: ",
    "name=' '": "name= : ",
    "name='a\tb'": "name=a b: ",  # spaces are joined in a line
    "name='a\x1b[31m'": "name=a\\x1b[31m: ",
    "name='a\u202eb'": "name=a\\u202eb: ",
    f"name={'a' * 300}": "up to 200 bytes",
    "paths.output_dir=": "paths.output_dir=: must be a folder",
    "paths.output_dir=' '": "paths.output_dir= : must be a folder",
    "paths.output_dir='a\x07b'": "paths.output_dir=a\\x07b: ",
    "paths.data_dir=''": "paths.data_dir=: must be a folder",
    "hydra.run.dir=": "hydra.run.dir=: must be a folder",
    "hydra.run.dir='a\x07'": "hydra.run.dir=a\\x07: ",
}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line, after which nothing is there that was not."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    message = capsys.readouterr()
    assert end.value.code == 2
    assert (message.err.count("\n"), message.out) == (1, "")
    return message.err


@pytest.mark.parametrize("override", REFUSED)
def test_a_run(override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "here" / "there").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "there")
    made: list[str] = []
    mkdir = Path.mkdir
    monkeypatch.setattr(Path, "mkdir", lambda self, *a, **k: (made.append(str(self)), mkdir(self, *a, **k)))
    assert REFUSED[override] in refused(capsys, *FAST, override)
    assert REFUSED[override] in refused(capsys, *FAST, override, "dry_run=true")
    with pytest.raises(ConfigError):
        calotype.run([*FAST, override])
    assert made == []
    assert [path.name for path in tmp_path.rglob("*")] == ["here", "there"]


@pytest.mark.parametrize("override", ["name=../../x,b", "paths.output_dir=", "hydra.sweep.dir=", "hydra.sweep.subdir=", "name=a/b"])
def test_a_sweep(override: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "must be " in refused(capsys, "-m", *FAST, "seed=0,1", override)
    assert list(tmp_path.rglob("*")) == []


def test_a_mandatory_value_that_the_sweep_gives(capsys: pytest.CaptureFixture[str], image_root: Path) -> None:
    """What each job has is looked at for each job, and not before."""
    main(["-m", *FAST, "dataset=image_folder", f"dataset.root={image_root},{image_root}/", "dry_run=true"])
    assert "sweep of 2 runs" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--page", "--figures"])
def test_empty_paths_of_a_report(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    for use, arguments in ((report_main, [".", option, ""]), (rerun_main, ["run", "--out", ""]), (report_main, [""])):
        with pytest.raises(SystemExit) as end:
            use(arguments)
        assert end.value.code == 2
        assert "an empty path" in capsys.readouterr().err


@pytest.mark.parametrize("record", [{"task": "../../../x"}, {"task": "gan", "choices": {"task": "../../../x"}}])
def test_a_record_names_no_folder_of_a_longer_training(record: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"damaged \(task \.\./"):
        _new_folder(compose_config(FAST), record, [])


def test_a_record_names_no_folder_of_a_rerun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    record = {"task": "classification", "config_hash": "/../../../x", "format": FORMAT, "status": "finished"}
    (tmp_path / "run" / "config.yaml").write_text(OmegaConf.to_yaml(compose_config([*FAST, "dry_run=true"]), resolve=True))
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    (tmp_path / "run" / "metrics.json").write_text("{}")
    rerun(tmp_path / "run")
    assert re.search(r"it would run in outputs/reruns/[^/]+\n", capsys.readouterr().out)


def test_names() -> None:
    for name in ("a", "a b", "猫", "50%$#$", "a.b", "...", "-x", "~", "a" * 200):
        assert is_name(name)
    for name in ("", " ", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "a" * 201, "猫" * 67, "\u202e"):
        assert not is_name(name)

"""A run folder of somebody else's that goes on, or is run again, writes in its own folder and in the user's, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from calotype import cli
from calotype.check import ConfigError
from calotype.cli_report import rerun_main
from calotype.confinement import confine
from calotype.runner import Result
from calotype.trust import trusting
from helpers import rewrite

OWN = {"output_dir": "outputs", "data_dir": "data"}
BOARD = {"_target_": "pytorch_lightning.loggers.TensorBoardLogger", "name": "tensorboard", "version": ""}
STOP = {"_target_": "pytorch_lightning.callbacks.OnExceptionCheckpoint"}


def config(**changes: Any) -> dict[str, Any]:
    return {"paths": {"output_dir": "outputs", "data_dir": "data"}, "dataset": {"root": "data"}, "logger": None, "callbacks": {}, **changes}


def confined(tmp_path: Path, *typed: str, told: list[str] | None = None, **changes: Any) -> dict[str, Any]:
    return confine(config(**changes), tmp_path / "run", own=OWN, here=tmp_path, typed=typed, told=[] if told is None else told)


# What a config holds -> what is made of it.
REDIRECTED: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any], Path], bool]]] = {
    "output folder": (
        {"paths": {"output_dir": "/elsewhere", "data_dir": "data"}},
        lambda config, here: config["paths"]["output_dir"] == str(here / "outputs"),
    ),
    "an ancestor": (
        {"paths": {"output_dir": "..", "data_dir": "data"}},
        lambda config, here: config["paths"]["output_dir"] == str(here / "outputs"),
    ),
    "board": (
        {"logger": {"board": {**BOARD, "save_dir": "/elsewhere"}}},
        lambda config, here: "save_dir" not in config["logger"]["board"],
    ),
    "board above": (
        {"logger": {"board": {**BOARD, "save_dir": "../x"}}},
        lambda config, here: "save_dir" not in config["logger"]["board"],
    ),
    "a store": (
        {"logger": {"a": {"tracking_uri": "sqlite:////etc/x.db"}}},
        lambda config, here: config["logger"] == {"a": {}},
    ),
    "a server": ({"logger": {"a": {"tracking_uri": "http://x.org"}}}, lambda config, here: config["logger"] == {"a": {}}),
    "a checkpoint": (
        {"callbacks": {"a": {**STOP, "dirpath": "/elsewhere"}}},
        lambda config, here: config["callbacks"]["a"]["dirpath"] == str(here / "run" / "checkpoints"),
    ),
    "a download": (
        {"dataset": {"root": "/elsewhere", "download": True}},
        lambda config, here: config["dataset"] == {"root": "/elsewhere", "download": False},
    ),
}
KEPT: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "the run folder": {"logger": {"board": {**BOARD, "save_dir": "run/logs"}}},
    "the user's store": {"logger": {"a": {"tracking_uri": "sqlite:///outputs/mlflow.db"}}},
    "data elsewhere": {"dataset": {"root": "/elsewhere"}},
    "data in their place": {"dataset": {"root": "data/x", "download": True}},
    "words": {"callbacks": {"a": {"monitor": "val/loss", "patience": 3, "names": ["a/b"]}}},
}
REFUSED: dict[str, dict[str, Any]] = {
    "logger.board.name=/elsewhere": {"logger": {"board": {**BOARD, "name": "/elsewhere"}}},
    "logger.board.version=../../x": {"logger": {"board": {**BOARD, "version": "../../x"}}},
    "callbacks.a.filename=/x": {"callbacks": {"a": {"filename": "/x"}}},
    "callbacks.a.deep=~/x": {"callbacks": {"a": {"deep": ["~/x"]}}},
}


@pytest.mark.parametrize("case", REDIRECTED)
def test_redirected(case: str, tmp_path: Path) -> None:
    changes, is_right = REDIRECTED[case]
    told: list[str] = []
    assert is_right(confined(tmp_path, told=told, **changes), tmp_path)
    (line,) = told
    assert "chosen by the run, not by you" in line

    with trusting():
        assert confined(tmp_path, told=told, **changes) == config(**changes)
    assert told == [line]


@pytest.mark.parametrize("case", KEPT)
def test_kept(case: str, tmp_path: Path) -> None:
    told: list[str] = []
    assert confined(tmp_path, told=told, **KEPT[case]) == config(**KEPT[case])
    assert told == []


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="outside of the run folder; where you trust it") as error:
        confined(tmp_path, **REFUSED[case])
    assert str(error.value).startswith(case)


def test_what_is_typed_is_the_user_s_own(tmp_path: Path) -> None:
    changes = {"paths": {"output_dir": "/mine", "data_dir": "data"}, "logger": {"a": {"save_dir": "/mine"}}}
    assert confined(tmp_path, "paths.output_dir=/mine", "logger.a.save_dir=/mine", **changes) == config(**changes)


def test_the_default_of_a_moved_run_is_the_user_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current directory is the one where the run was started, as `resume=` makes it."""
    (tmp_path / "before").mkdir()
    monkeypatch.chdir(tmp_path / "before")
    told: list[str] = []
    assert confined(tmp_path, told=told)["paths"]["output_dir"] == str(tmp_path / "outputs")
    assert told == []


def test_nothing_is_told_before_a_fault_of_the_config(
    small_run: Callable[..., Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_run("trainer.max_epochs=1", "model.widths=[4]").run_dir
    changed = yaml.safe_load((run / "config.yaml").read_text())
    changed["paths"]["output_dir"] = str(tmp_path / "elsewhere")
    (run / "config.yaml").write_text(yaml.safe_dump(changed))
    rewrite(run)
    for wrong in ("trainer.max_epoch=3", "trainer.max_epochs=many"):
        with pytest.raises(SystemExit):
            cli.main([f"resume={run}", wrong])
        assert "chosen by the run" not in capsys.readouterr().err


def test_a_run_in_its_own_output_folder(tmp_path: Path) -> None:
    """Moved or not, own runs go on as they were, from any directory."""
    there = tmp_path / "there"
    changes = {"paths": {"output_dir": str(there), "data_dir": "data"}}
    run = there / "classification" / "default" / "run"
    told: list[str] = []
    assert confine(config(**changes), run, own=OWN, here=tmp_path, told=told)["paths"]["output_dir"] == str(there)
    assert told == []


def test_links_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "inside").symlink_to("config.yaml")
    confined(tmp_path)
    (tmp_path / "run" / "metrics.csv").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match=r"metrics\.csv: a link to /etc/passwd, outside of the run folder"):
        confined(tmp_path)


def test_a_foreign_run_goes_on_and_again(small_run: Callable[..., Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = small_run("trainer.max_epochs=1", "model.widths=[4]").run_dir
    changed = yaml.safe_load((run / "config.yaml").read_text())
    changed["paths"]["output_dir"] = str(tmp_path / "elsewhere")
    changed["logger"] = {"board": {**BOARD, "save_dir": str(tmp_path / "elsewhere")}}
    (run / "config.yaml").write_text(yaml.safe_dump(changed))
    (tmp_path / "there").mkdir()
    rewrite(run, cwd=str(tmp_path / "there"))

    cli.main([f"resume={run}", "trainer.max_epochs=3"])
    rerun_main([str(run)])
    assert not (tmp_path / "elsewhere").exists()
    assert not list((tmp_path / "there").iterdir())
    assert capsys.readouterr().err.count("calotype: logger.board.save_dir=") == 2
    (again,) = (tmp_path / "outputs" / "reruns").iterdir()
    (longer,) = (tmp_path / "outputs" / "classification" / "default").iterdir()
    for folder in (again, longer):
        assert list((folder / "tensorboard").glob("events*"))
    assert json.loads((longer / "run.json").read_text())["parent"] == str(run)

    rerun_main([str(run), "--trust"])
    assert list((tmp_path / "elsewhere").rglob("events*"))

"""Loggers get plain values, the whole config, the pictures, and an end of their own; each only what it takes."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from omegaconf import OmegaConf
from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment

import calotype
from calotype.cli import main
from calotype.loggers import closed_loggers, make_loggers
from calotype.runner import Result
from calotype.schema import flat
from calotype.types import UserError
from helpers import FAST

TINY = [*(o for o in FAST if not o.startswith(("logger", "~"))), "trainer.max_epochs=1"]


class Recorder(Logger):
    """Somebody's own logger, which takes no `save_dir`."""

    made: ClassVar[list[Recorder]] = []

    def __init__(self, options: dict[str, Any], tags: list[str] | None = None) -> None:
        super().__init__()
        self.options, self.tags = options, tags
        self.params: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self.pictures: list[tuple[str, list[str]]] = []
        self.ends: list[str] = []
        self.made.append(self)

    name, version = "recorder", "0"

    @property
    @rank_zero_experiment
    def experiment(self) -> None:
        return None

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        self.params |= params

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.metrics |= metrics

    def log_image(self, key: str, images: list[str]) -> None:
        self.pictures.append((key, images))

    def finalize(self, status: str) -> None:
        self.ends.append(status)


class Saver(Recorder):
    """Takes a folder, as most of Lightning's do."""

    def __init__(self, save_dir: str) -> None:
        super().__init__({})
        self.folder = save_dir


@pytest.fixture(autouse=True)
def _module(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Importable by name, as a user's module is."""
    module = types.ModuleType("own_loggers")
    module.Recorder, module.Saver = Recorder, Saver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_loggers", module)
    Recorder.made = []
    yield
    Recorder.made = []


OWN = "+logger.own={_target_: own_loggers.Recorder, options: {rate: [1, 2], deep: {a: ${seed}}}, tags: [x]}"


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(plain(one) for one in (*value, *value.values()))
    return all(map(plain, value)) if isinstance(value, list) else type(value) in (int, float, str, bool, type(None))


def test_a_logger_of_ones_own(tmp_path: Path) -> None:
    run = calotype.run([*TINY, "logger=none", OWN, "seed=3", f"hydra.run.dir={tmp_path}/run"])
    (logger,) = Recorder.made
    assert type(logger.options) is dict
    assert type(logger.options["rate"]) is type(logger.tags) is list
    assert logger.options == {"rate": [1, 2], "deep": {"a": 3}}
    assert plain(logger.params)
    config = yaml.safe_load((run.run_dir / "config.yaml").read_text())
    assert logger.params == flat({key: value for key, value in config.items() if key != "logger"})
    assert logger.params["optimizer.lr"] == config["optimizer"]["lr"]
    assert "test/accuracy" in logger.metrics
    assert dict(logger.pictures) == {f"images/{path.stem}": [str(path)] for path in (run.run_dir / "images").glob("*.png")}
    assert logger.pictures
    assert logger.ends[-1] == "success"


def test_the_folder_goes_to_loggers_that_take_one(tmp_path: Path) -> None:
    nodes = {"saver": {"_target_": "own_loggers.Saver"}, "csv": {"_target_": "pytorch_lightning.loggers.CSVLogger"}}
    saver, csv = make_loggers({"seed": 0, "logger": nodes}, tmp_path)
    assert saver.folder == csv.save_dir == str(tmp_path)
    nodes["saver"]["save_dir"] = "mine"
    assert make_loggers({"logger": nodes}, tmp_path)[0].folder == "mine"


def test_each_job_of_a_sweep_has_a_logger_that_is_closed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any) -> None:
        if self.trainer.loggers[-1].params["seed"] == 1:
            raise UserError("no luck")

    monkeypatch.setattr("calotype.tasks.classification.Classification.on_test_epoch_end", broken)
    with pytest.raises(SystemExit):
        main(["-m", *TINY, "logger=none", OWN, "seed=0,1,2", "hydra.sweep.dir=s"])
    assert [(logger.params["seed"], logger.ends[-1]) for logger in Recorder.made] == [(0, "success"), (1, "failed"), (2, "success")]


def test_a_logger_that_fails_at_the_end_does_not_fail_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(self: Any, key: str, images: list[str]) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(Recorder, "log_image", offline)
    calotype.run([*TINY, "logger=none", OWN, f"hydra.run.dir={tmp_path}/run"])
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    assert "calotype: logger.own: no network; the run itself is whole" in capsys.readouterr().err


def test_a_logger_that_cannot_be_built_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^logger.own: .*missing.*options"):
        make_loggers({"logger": {"own": {"_target_": "own_loggers.Recorder"}}}, tmp_path)


def test_tensorboard_has_the_settings_and_the_pictures(small_run: Callable[..., Result]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = small_run("logger=tensorboard", "trainer.max_epochs=1")
    tags: dict[str, set[str]] = {"images": set(), "scalars": set()}
    for path in (run.run_dir / "tensorboard").glob("events*"):
        events = EventAccumulator(str(path))
        events.Reload()
        for kind, found in tags.items():
            found |= set(events.Tags()[kind])
    assert tags["images"] == {f"images/{path.stem}" for path in (run.run_dir / "images").glob("*.png")}
    assert "images/curves" in tags["images"]
    assert "test/accuracy" in tags["scalars"]
    settings = yaml.safe_load((run.run_dir / "tensorboard" / "hparams.yaml").read_text())
    assert settings["trainer.max_epochs"] == 1
    assert settings["model.widths"] == [4, 8]


@pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy
def test_mlflow_has_the_settings_and_the_pictures(small_run: Callable[..., Result], tmp_path: Path) -> None:
    """By the store that the option ships with; a setting that is longer than MLflow takes is cut, and fails nothing."""
    mlflow = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    long = ", ".join(f"{i}: {i}" for i in range(900))
    runs = [
        small_run("logger=mlflow", "trainer.max_epochs=1", f"seed={seed}", f"+logger.mlflow.tags={{a: {long[:3000]!r}}}") for seed in (0, 1)
    ]
    client = mlflow.tracking.MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'calotype'")
    found = {run.data.params["seed"]: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(found) == ["0", "1"]
    for run, seed in zip(runs, ("0", "1"), strict=True):
        logged = found[seed]
        assert logged.info.status == "FINISHED"
        assert logged.data.params["model.widths"] == "[4, 8]"
        assert logged.data.metrics["test/accuracy"] == pytest.approx(run.metrics["test/accuracy"])
        names = {Path(one.path).name for one in client.list_artifacts(logged.info.run_id, "images")}
        assert names == {path.name for path in (run.run_dir / "images").iterdir()}


def test_wandb_gives_each_job_a_run_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    ids: list[str] = []
    real = wandb.init
    monkeypatch.setattr(wandb, "init", lambda **options: ids.append((run := real(**options)).id) or run)
    main(["-m", *TINY, "logger=wandb", "logger.wandb.offline=true", "seed=0,1", "hydra.sweep.dir=s"])
    assert wandb.run is None
    assert len(set(ids)) == 2
    for folder in (tmp_path / "s").glob("*/"):
        assert len(list(folder.glob("wandb/offline-run-*/*.wandb"))) == 1
        assert list(folder.glob("wandb/offline-run-*/files/media/images/images/*.png"))


def test_loggers_of_an_inner_run_are_its_own(tmp_path: Path) -> None:
    """As of the classifier that a GAN's run trains first."""
    node = {"logger": {"own": {"_target_": "own_loggers.Saver"}}}
    with closed_loggers(tmp_path):
        (outer,) = make_loggers(node, tmp_path)
        with closed_loggers(tmp_path):
            (inner,) = make_loggers(node, tmp_path)
        assert (outer.ends, inner.ends) == ([], ["success"])
    assert outer.ends == ["success"]
    assert not OmegaConf.is_config(outer.params)

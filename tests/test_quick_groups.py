"""`--help` and completion ask for the options of some hundred groups: the answers are Hydra's own, from one repository."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from hydra._internal import config_loader_impl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from calotype import cli


def shown_help(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        cli.main(["--help"])
    assert not left.value.code
    return capsys.readouterr().out


def test_help_is_hydra_s_own_from_one_repository(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made: list[object] = []

    class Counted(config_loader_impl.CachingConfigRepository):
        def __init__(self, *arguments: object) -> None:
            made.append(self)
            super().__init__(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(config_loader_impl, "CachingConfigRepository", Counted)
    quick = shown_help(capsys)
    assert len(made) == 2  # that of the groups and that of the composed config

    monkeypatch.setattr(cli, "quick_groups", contextlib.nullcontext)
    made.clear()
    assert shown_help(capsys) == quick
    assert len(made) > 100
    assert "experiment/gan: " in quick


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = config_loader_impl.ConfigLoaderImpl.get_group_options
    yield
    assert config_loader_impl.ConfigLoaderImpl.get_group_options is before


def test_a_run_composes_its_config_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    given: list[tuple[Any, Any]] = []
    load = config_loader_impl.ConfigLoaderImpl._load_configuration_impl

    def counted(self: config_loader_impl.ConfigLoaderImpl, *arguments: Any, **named: Any) -> DictConfig:
        made.append(str(named["run_mode"]))
        return load(self, *arguments, **named)

    monkeypatch.setattr(config_loader_impl.ConfigLoaderImpl, "_load_configuration_impl", counted)
    monkeypatch.setattr(cli, "_application", lambda cfg: given.append((cfg, OmegaConf.to_container(HydraConfig.get()))))
    overrides = ["task=gan", "trainer.max_epochs=2", "hydra.run.dir=here"]
    cli.main(overrides)
    assert len(made) == 1
    monkeypatch.setattr(cli, "composed_once", contextlib.nullcontext)
    cli.main(overrides)
    assert len(made) == 3

    quick, own = given
    assert own[1]["overrides"]["hydra"].pop() == "hydra.mode=RUN"
    assert quick == own


def test_a_grid_composes_the_config_of_a_job_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first job starts, and where it is run, which may be in another process."""
    made: list[list[str]] = []
    load = config_loader_impl.ConfigLoaderImpl.load_sweep_config

    def counted(self: config_loader_impl.ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        made.append(sweep_overrides)
        return load(self, master_config, sweep_overrides)

    monkeypatch.setattr(config_loader_impl.ConfigLoaderImpl, "load_sweep_config", counted)
    monkeypatch.setattr(cli, "_application", lambda cfg: None)
    with contextlib.suppress(SystemExit):  # nothing was run
        cli.main(["-m", "seed=3,4", "hydra.sweep.dir=here"])
    assert made == [["seed=3"], ["seed=4"]] * 2


def test_a_config_that_says_multirun_is_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(cli, "_application", lambda cfg: seen.append((HydraConfig.get().mode, cfg.seed)))
    cli.main(["hydra.mode=MULTIRUN", "seed=3,4", "hydra/sweeper=basic"])
    assert seen == [(RunMode.MULTIRUN, 3), (RunMode.MULTIRUN, 4)]

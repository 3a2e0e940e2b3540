"""`--help` and completion ask for the options of some hundred groups: the answers are Hydra's own, from one repository."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from hydra._internal import config_loader_impl

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

"""A gallery that several processes add to."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from calotype import apply
from calotype.apply import enroll, remove
from calotype.cli_apply import apply_main
from calotype.gallery import Gallery
from calotype.types import UserError


class StubVerifier:
    """Makes a template of each image without a network."""

    by_squared_distance, hash = True, "model"

    def __init__(self, *_: Any, **__: Any) -> None:
        self.decision = self

    def embed(self, images: list[Path]) -> tuple[torch.Tensor, str]:
        return torch.zeros(len(images), 2), ""

    def threshold_for(self, fpir: float, count: int) -> tuple[float, bool]:
        return 1.0, True


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(apply, "Verifier", StubVerifier)
    (tmp_path / "0.png").touch()
    return tmp_path / "0.png"


# From Python 3.12 on a fork beside threads is warned of; these processes compute nothing.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_five_add_at_once(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Gallery.load

    def slow(path: Path) -> Gallery:
        """Between reading and writing, all of them have read: without a lock one name alone is left."""
        found = load(path)
        time.sleep(0.2)
        return found

    monkeypatch.setattr(Gallery, "load", slow)
    gallery = tmp_path / "new" / "g"
    enroll("run", [("first", [image])], gallery)

    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=enroll, args=("run", [(f"p{i}", [image])], gallery)) for i in range(5)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * 5
    assert sorted(load(gallery).names) == ["first", *(f"p{i}" for i in range(5))]

    jobs = [context.Process(target=remove, args=("run", f"p{i}", gallery)) for i in range(5)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert load(gallery).names == ["first"]


def test_a_gallery_that_cannot_be_written(image: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/g: .*another place"):
        enroll("run", [("a", [image])], tmp_path / "file" / "g")


@pytest.mark.parametrize("name", ["", " ", "a\x1b[31m", "a\nb", "a\tb", "\u202eb"])
def test_names_that_are_none(name: str, image: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="printable characters"):
        enroll("run", [(name, [image])], tmp_path / "g")
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["gallery", "add", "A", "0.png", "--gallery", ""], ["gallery", "list", "--gallery", " "], ["sample", "--out", ""],
        ["stylize", "0.png", "--out", ""], ["translate", "0.png", "--out", ""], ["complete", "", "--mask", "m", "--out", "o"],
    ],
)  # fmt: skip
def test_empty_paths(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        apply_main(["run", *arguments])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "an empty path" in error
    assert error.count("\n") == 1

"""A GPU for each process of a sweep: claimed by one at a time, given back when it ends."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
import torch

from calotype import own_gpu

HOLD = "import sys; from calotype.own_gpu import claim; print(claim(3), claim(3), flush=True); sys.stdin.read()"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    held: dict[int, IO[str]] = {}
    monkeypatch.setattr(own_gpu, "_held", held)
    yield
    for file in held.values():
        file.close()


@contextlib.contextmanager
def holder() -> Iterator[str]:
    """Another process that claims one of three GPUs twice and lives on; what it was given."""
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def test_one_process_one_gpu() -> None:
    with holder() as second_told:
        with holder() as told:
            assert {told, second_told} == {"0 0", "1 1"}  # the next job of a process has the same one
            assert own_gpu.claim(2) is None
        assert own_gpu.claim(3) == 1


def test_only_side_by_side_and_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_gpu.devices(1, "auto") == 1
    monkeypatch.setattr(own_gpu, "_side_by_side", lambda: True)
    assert own_gpu.devices(1, "cpu") == 1
    assert own_gpu.devices(2, "gpu") == 2
    assert own_gpu.devices(1, "gpu") == [0]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert own_gpu.devices(1, "gpu") == 1

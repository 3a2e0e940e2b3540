"""The data's hash: the same for the same values, and for no others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from calotype.data import fingerprint
from calotype.data.fingerprint import data_hash
from calotype.types import Source


def source(items: torch.Tensor | list[Path], root: Path | None = None) -> Source:
    return Source(name="x", items=items, channels=1, root=root)


def test_one_value_changes_it() -> None:
    pixels = torch.randint(0, 256, (5, 1, 4, 4), dtype=torch.uint8)
    other = pixels.clone()
    other[3, 0, 2, 1] ^= 1
    assert data_hash(source(pixels)) == data_hash(source(pixels.clone()))
    assert len({data_hash(source(x)) for x in (pixels, other, pixels.view(5, 1, 2, 8), pixels.float() / 255)}) == 4


def test_of_files_names_and_bytes_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, content in (("a", b"12"), ("b", b"12"), ("c", b"13")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").write_bytes(content)

    def found(folder: str) -> str:
        return data_hash(source([tmp_path / folder / "1.png"], tmp_path / folder))

    assert found("a") == found("b") != found("c")
    monkeypatch.setattr(fingerprint, "READ", 1)
    assert found("a") == found("c")
    assert found("a").startswith("sizes-")
    (tmp_path / "c" / "1.png").write_bytes(b"123")
    assert found("a") != found("c")

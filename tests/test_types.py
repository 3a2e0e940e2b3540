"""A source of images refuses fields that do not fit one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calotype.types import Source, UserError

PIXELS = torch.zeros(10, 1, 4, 4, dtype=torch.uint8)
NAMES = tuple("abcde")
FINE: dict[str, Any] = {"name": "mine", "items": PIXELS, "channels": 1, "labels": torch.arange(10) % 5, "class_names": NAMES}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"labels": torch.arange(10)}, r"labels: 0 to 9, and there are 5 class_names"),  # half of the images were lost silently
        ({"labels": torch.arange(10) % 5 - 1}, r"labels: -1 to 3"),
        ({"labels": torch.zeros(9, dtype=torch.int64)}, r"labels: a tensor of int64 \(10,\).*not torch.int64 \(9,\)"),
        ({"labels": torch.zeros(10)}, r"labels: .*not torch.float32"),
        ({"labels": torch.zeros(10, dtype=torch.int32)}, r"labels: .*not torch.int32"),
        ({"labels": [0] * 10}, r"labels: .*not list"),
        ({"class_names": (0, 1, 2, 3, 4)}, r"class_names: text, not 0 \(int\)"),
        ({"class_names": (*NAMES[:4], None)}, r"class_names: text, not None"),
        ({"class_names": (b"a", *NAMES[1:])}, r"class_names: text, not b'a'"),
        ({"class_names": ()}, r"there are 0 class_names"),
        ({"items": PIXELS.float() + 7}, r"float32 images lie in \[0, 1\], not 7 to 7; divide"),
        ({"items": PIXELS.float() - 1}, r"float32 images lie in \[0, 1\], not -1"),
        ({"items": PIXELS.double()}, r"items: .*not float64 \(10, 1, 4, 4\)"),
        ({"items": PIXELS.int()}, r"items: .*not int32"),
        ({"items": PIXELS[:, 0]}, r"items: .*not uint8 \(10, 4, 4\)"),
        ({"items": PIXELS[:0], "labels": None}, r"it holds nothing"),
        ({"items": PIXELS[:, :, :0]}, r"hold nothing"),
        ({"items": [], "labels": None}, r"it holds nothing"),
        ({"items": ["a.png"] * 10}, r"pathlib.Path of image files, not str"),
        ({"items": [Path("a.png")] * 10, "channels": 4}, r"channels=4: 1 \(grey\) or 3"),
        ({"channels": 3}, r"channels=3: its images \(10, 1, 4, 4\) have 1"),
        ({"test": torch.zeros(10)}, r"test: a tensor of bool \(10,\)"),
        ({"val": torch.zeros(9, dtype=torch.bool)}, r"val: a tensor of bool \(10,\)"),
    ],
)
def test_refuses(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=f"^dataset mine: .*{reason}") as told:
        Source(**{**FINE, **fields})
    assert "\n" not in str(told.value)


def test_takes_what_fits() -> None:
    Source(**FINE)
    Source(name="points", items=torch.zeros(10, 2) - 7, channels=0)
    Source(name="deep", items=torch.rand(1, 3, 4, 4), channels=3)
    Source(name="files", items=[Path("a.png")], channels=3, labels=torch.zeros(1, dtype=torch.int64), class_names=("a",))


def test_names_become_plain_text(tmp_path: Path) -> None:
    """A checkpoint with NumPy's strings could not be read again."""
    names = tuple(np.array(["a", "b", "c", "d", "\u732b"]))
    source = Source(**{**FINE, "class_names": names, "name": np.str_("mine")})
    assert all(type(name) is str for name in (*source.class_names, source.name))
    assert source.class_names[-1] == "\u732b"
    torch.save(source.class_names, tmp_path / "names.pt")
    assert torch.load(tmp_path / "names.pt", weights_only=True) == source.class_names
    assert Source(**{**FINE, "class_names": list(NAMES)}).class_names == NAMES
    odd = {"caf\udce9": r"caf\udce9", "\x1b[31mred": r"\x1b[31mred", "a\nb\tc": r"a\nb\tc", "\u202egpj": r"\u202egpj", "\x9b1m": r"\x9b1m"}
    assert Source(**{**FINE, "class_names": tuple(odd)}).class_names == tuple(odd.values())
    kept = ("\u732b", "50%$#$", "a b\\c", "\U0001f468\u200d\U0001f469", "\u00e9\u3000")
    assert Source(**{**FINE, "class_names": kept}).class_names == kept

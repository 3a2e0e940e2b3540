"""Masks: what they hide, by seed and by size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calotype.data.masks import FileMask, RandomMask, RectangleMask, TextMask
from calotype.types import UserError


def test_random_holes_come_from_the_seed() -> None:
    first, again, other = (RandomMask(holes=0.3, seed=seed)(64, 80) for seed in (0, 0, 1))
    assert first.shape == (64, 80)
    assert (first == again).all()
    assert (first != other).any()
    assert 1 - first.float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_rectangle() -> None:
    known = RectangleMask(box=(0.25, 0.5, 0.5, 0.25))(8, 16)
    assert (~known).nonzero().tolist() == [[y, x] for y in (4, 5) for x in range(4, 12)]


def test_text_hides_letters_all_over() -> None:
    known = TextMask(size=12)(100, 120)
    assert 0.05 < 1 - known.float().mean().item() < 0.5
    assert all((~part).any() for half in known.chunk(2) for part in half.chunk(2, 1))


def test_file_white_is_known(tmp_path: Path) -> None:
    pixels = np.full((6, 9), 255, np.uint8)
    pixels[2, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    known = FileMask(path=str(tmp_path / "mask.png"))(6, 9)
    assert (~known).nonzero().tolist() == [[2, 3]]
    assert (FileMask(path=str(tmp_path / "mask.png"), invert=True)(6, 9) == ~known).all()
    with pytest.raises(UserError, match=r"mask.png: the mask is 9x6 pixels and the image 8x6"):
        FileMask(path=str(tmp_path / "mask.png"))(6, 8)


@pytest.mark.parametrize(
    "make", [lambda: RandomMask(holes=1.0), lambda: RectangleMask(box=(0, 0, 0, 1)), lambda: TextMask(text=" "), lambda: TextMask(size=1)]
)
def test_options_beyond_reason(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"data\.mask\."):
        make()

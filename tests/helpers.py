"""What several test files use and pytest has no fixture for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from torch import Tensor, nn

REAL_DATA = os.environ.get("CALOTYPE_DATA", "")


def real_data(*parts: str) -> Path:
    """The folder of a real data set, or the test is skipped."""
    path = Path(REAL_DATA, *parts).resolve() if REAL_DATA else None
    if path is None or not path.exists():
        pytest.skip(f"needs real data: no {'/'.join(parts)} in CALOTYPE_DATA={REAL_DATA!r}")
    return path


class ThreeOutputs(nn.Module):
    """A network that pays no heed to how many classes there are."""

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(image_shape[0] * image_shape[1] * image_shape[2], 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1))

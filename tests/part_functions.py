"""Functions that make parts, for the test of what a config may name."""

from __future__ import annotations

from pytorch_lightning import Callback
from torch import nn


def callback() -> Callback:
    return Callback()


def unsaid(image_shape, num_classes):  # type: ignore[no-untyped-def]
    return nn.Identity()

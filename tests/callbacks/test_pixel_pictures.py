"""The picture of a PixelCNN's receptive field, also of networks that depend on nothing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from calotype.callbacks.pixel_pictures import _receptive_field


def influence(weights: Tensor) -> np.ndarray:
    """Return what is plotted for a network whose logits weigh the four pixels of an image by `weights`."""

    def model(images: Tensor, labels: Tensor | None) -> Tensor:
        logit = (images * weights).sum((2, 3), keepdim=True)
        return torch.stack([logit, -logit], dim=1).expand(1, 2, 1, 2, 2)

    module = SimpleNamespace(
        best_model=model,
        spec=SimpleNamespace(image_shape=(1, 2, 2)),
        device=torch.device("cpu"),
        conditional=False,
    )
    figure = _receptive_field(module)
    return np.ma.filled(figure.axes[0].images[0].get_array().astype(float), np.nan)


def test_influence_is_in_decades_below_the_strongest() -> None:
    assert influence(torch.tensor([[1.0, 0.1], [0.01, 0.0]])) == pytest.approx(np.array([[0, -1], [-2, np.nan]]), nan_ok=True, abs=1e-5)


def test_a_tiny_influence_does_not_underflow() -> None:
    shares = influence(torch.tensor([[1e20, 1e-30], [0.0, 0.0]]))
    assert shares == pytest.approx(np.array([[0, -50], [np.nan, np.nan]]), nan_ok=True, abs=1e-3)


def test_a_dead_network_depends_on_nothing() -> None:
    assert np.isnan(influence(torch.zeros(2, 2))).all()

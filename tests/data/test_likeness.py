"""How unlike training images an input is: against a calculation by NumPy, and on digits and their negatives."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from calotype.data.labelled import Labelled
from calotype.data.likeness import Likeness, likeness_of, statistics
from calotype.data.preprocess import Preprocess
from calotype.datasets.characters import digits
from calotype.datasets.gaussians_2d import gaussians_2d


def test_statistics_and_score_are_those_of_numpy() -> None:
    images = torch.randint(0, 256, (40, 3, 7, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x = images.numpy().astype(float)
    inner = np.zeros((7, 5), dtype=bool)
    inner[1:-1, 1:-1] = True
    values = np.stack([x.mean((2, 3)), x.std((2, 3)), x[..., ~inner].mean(-1)], -1).reshape(40, 9)
    assert np.allclose(statistics(images).numpy(), values)

    train, val = images[:30], images[30:]
    covariance = np.cov(values[:30].T) + 25 * np.eye(9)
    apart = values - values[:30].mean(0)
    scores = np.sqrt(np.einsum("ni,ij,nj->n", apart, np.linalg.inv(covariance), apart))
    likeness = Likeness.of(train.split(7), val.split(3))
    assert np.allclose(likeness.score(images).numpy(), scores)
    assert likeness.threshold == pytest.approx(max(np.quantile(scores[30:], 0.99), 21.666**0.5), rel=1e-4)  # chi squared of 9 at 0.99

    again = Likeness.from_plain(json.loads(json.dumps(likeness.to_plain())))
    assert torch.equal(again.score(images), likeness.score(images))
    assert again.threshold == likeness.threshold


def test_digits_and_their_negatives() -> None:
    data = Labelled(dataset=digits(), preprocess=Preprocess())
    few = likeness_of(data)  # items that are not in memory are decoded for it
    data.setup("fit")
    likeness = likeness_of(data)
    assert likeness is not None
    assert few is not None
    assert not torch.equal(few.mean, likeness.mean)
    assert torch.allclose(few.mean, likeness.mean, atol=4)
    test = data.items.pixels(torch.tensor(data.split.test))
    assert (likeness.score(test) > likeness.threshold).float().mean() < 0.04
    assert (likeness.score(255 - test) > likeness.threshold).all()
    assert likeness.difference(255 - test[0]).startswith("border 2")


def test_one_image_a_flat_set_and_points() -> None:
    flat = torch.full((5, 1, 4, 4), 9, dtype=torch.uint8)
    likeness = Likeness.of([flat])
    assert (likeness.score(flat + 5) < likeness.threshold).all()
    assert (likeness.score(flat + 60) > likeness.threshold).all()
    assert Likeness.of([flat[:1]]).score(flat).max() == 0
    assert likeness_of(Labelled(dataset=gaussians_2d(num_points=500), preprocess=Preprocess())) is None
    assert likeness_of(object()) is None


@pytest.mark.parametrize(
    "plain", [{}, {"mean": [1.0], "covariance": [[1.0]], "threshold": 1}, {"mean": "x", "covariance": 1, "threshold": 1}]
)
def test_a_damaged_record_is_told_from_a_fault(plain: dict) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Likeness.from_plain(plain)

"""How unlike the images of a training an input is: a score that `calotype-apply` warns by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calotype.data.preprocess import border_of

MAX_IMAGES = 512  # of a subset that are looked at
MAX_DECODED = 64  # where each has to be decoded for it
PERCENTILE = 0.99  # of the validation images' scores: the threshold
NOISE = 5.0  # grey levels that a statistic may always vary by, so that a constant ground is no strict rule
NAMES = ("mean", "spread", "border")


@dataclass(frozen=True)
class Likeness:
    """Statistics of training images as the network is given them.

    The score of an image is the Mahalanobis distance of its statistics (of each channel the mean, the standard
    deviation and the mean of the outermost pixels, in grey levels of 255) from those of the training images.

    Attributes:
        mean: float64 (D,), of the statistics over the training images; D = 3 times channels.
        covariance: float64 (D, D), likewise, with 5 grey levels of noise.
        threshold: the 99th percentile of the validation images' scores (of the training images' where there is no
            validation), and at least the distance that one in a hundred of normally distributed statistics exceeds.
    """

    mean: Tensor
    covariance: Tensor
    threshold: float

    @classmethod
    def of(cls, train: Iterable[Tensor], val: Iterable[Tensor] = ()) -> Likeness:
        """Return the statistics of uint8 images (N, C, H, W), given in parts."""
        from scipy.stats import chi2

        values = torch.cat([statistics(part) for part in train])
        width = values.shape[1]
        spread = torch.cov(values.T).reshape(width, width) if len(values) > 1 else torch.zeros(width, width).double()
        found = cls(values.mean(0), spread + NOISE**2 * torch.eye(width, dtype=torch.float64), 0.0)

        others = [statistics(part) for part in val]
        scores = found._distance(torch.cat(others) if others else values)
        lowest = float(chi2.ppf(PERCENTILE, width)) ** 0.5
        return cls(found.mean, found.covariance, max(lowest, torch.quantile(scores, PERCENTILE).item()))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Likeness:
        """Return what `to_plain` gave. Raises KeyError, TypeError or ValueError where it is damaged."""
        mean, covariance = (torch.tensor(plain[name], dtype=torch.float64) for name in ("mean", "covariance"))
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)) or len(mean) % len(NAMES):
            raise ValueError("its numbers do not fit one another")
        return cls(mean, covariance, float(plain["threshold"]))

    def to_plain(self) -> dict[str, Any]:
        """Return it in lists of numbers."""
        return {"mean": self.mean.tolist(), "covariance": self.covariance.tolist(), "threshold": self.threshold}

    def score(self, images: Tensor) -> Tensor:
        """Return the score of uint8 images (N, C, H, W), float64 (N,)."""
        return self._distance(statistics(images))

    def difference(self, image: Tensor) -> str:
        """Return the statistic of an image (C, H, W) that differs most: `border 245, theirs 3 ± 5`."""
        apart = statistics(image[None])[0] - self.mean
        spread = self.covariance.diagonal().sqrt()
        most = int((apart / spread).abs().argmax())
        mean = float(self.mean[most])
        return f"{NAMES[most % len(NAMES)]} {mean + float(apart[most]):.0f}, theirs {mean:.0f} ± {float(spread[most]):.0f}"

    def _distance(self, values: Tensor) -> Tensor:
        apart = (values - self.mean).T  # (D, N)
        return (apart * torch.linalg.solve(self.covariance, apart)).sum(0).clamp(min=0).sqrt()


def statistics(images: Tensor) -> Tensor:
    """Return of images uint8 (N, C, H, W) the mean, spread and border's mean of each channel, float64 (N, 3 C)."""
    pixels = images.double().flatten(2)  # (N, C, H * W)
    border = border_of(images).double().mean(-1)
    return torch.stack([pixels.mean(-1), pixels.std(-1, correction=0), border], -1).flatten(1)


def likeness_of(datamodule: Any) -> Likeness | None:
    """Return the statistics of a DataModule's training images, spread evenly; None where it has no such images."""
    items, split = getattr(datamodule, "items", None), getattr(datamodule, "split", None)
    if items is None or split is None or len(items.shape) != 3 or not split.train:
        return None
    if items.pixels(torch.tensor(split.train[:1])).dtype != torch.uint8:
        return None

    def parts(numbers: Sequence[int]) -> Iterable[Tensor]:
        most = MAX_IMAGES if items.loaded else MAX_DECODED
        chosen = torch.linspace(0, len(numbers) - 1, min(most, len(numbers))).round().long()
        return (items.pixels(part) for part in torch.tensor(numbers)[chosen].split(32))

    return Likeness.of(parts(split.train), parts(split.val) if split.val else ())

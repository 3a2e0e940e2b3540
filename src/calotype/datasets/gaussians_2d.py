"""Mixtures of Gaussians in the plane: where a generative model's lost modes can be counted."""

from __future__ import annotations

import math
from typing import Literal

import torch

from calotype.ranges import AtLeast0, Positive, Seed
from calotype.types import Source, holding


@holding(points=True)
def gaussians_2d(
    *, layout: Literal["ring", "grid"] = "grid", num_points: Positive = 100_000, std: AtLeast0 = 0.05, seed: Seed = 0
) -> Source:
    """Points (N, 2), float32, of equally likely Gaussians; the label is the Gaussian.

    Args:
        layout: `ring`: 8 on a circle of radius 2. `grid`: 25 at {-4, -2, 0, 2, 4} squared (PacGAN, Lin et al. 2018).
        num_points: N.
        std: of each coordinate of a Gaussian, in the plane's units.
        seed: of the points.
    """
    if layout == "ring":
        angle = torch.arange(8) * (2 * math.pi / 8)
        centres = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    else:
        axis = torch.tensor([-4.0, -2.0, 0.0, 2.0, 4.0])
        centres = torch.cartesian_prod(axis, axis)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(centres), (num_points,), generator=generator)
    points = centres[labels] + std * torch.randn(num_points, 2, generator=generator)
    return Source(
        name=f"gaussians_2d_{layout}",
        items=points,
        channels=0,
        labels=labels,
        class_names=tuple(f"({x:.2g},{y:.2g})" for x, y in centres.tolist()),
        centres=centres,
        std=std,
    )

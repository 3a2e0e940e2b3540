"""What is done to training images anew in every batch. Every image draws its own values, the batch is one tensor."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from calotype.ranges import AtLeast0, Below1, Degrees, Share
from calotype.types import UserError


class Augment:
    """Random geometry, light and holes. All off by default.

    torchvision's random transforms draw once a call, so a whole batch would be turned alike; here each image has its
    own draw and one `grid_sample` serves them all.

    Args:
        flip: probability of a left-right flip, 0 to 1.
        rotate: degrees, drawn from +-rotate.
        translate: share of the side, drawn from +-translate.
        scale: share, the factor is drawn from 1 +- scale.
        brightness, contrast: share, each factor is drawn from 1 +- it; contrast is around the image's mean.
        erase: probability that a rectangle (2 to 20 % of the area) is set to the image's mean, 0 to 1
            (Zhong et al., "Random Erasing", 2017).
    """

    def __init__(
        self,
        *,
        flip: Share = 0.0,
        rotate: Degrees = 0.0,
        translate: Share = 0.0,
        scale: Below1 = 0.0,
        brightness: AtLeast0 = 0.0,
        contrast: AtLeast0 = 0.0,
        erase: Share = 0.0,
    ) -> None:
        limits = {"flip": 1.0, "translate": 1.0, "scale": 0.9, "brightness": 1.0, "contrast": 1.0, "erase": 1.0}
        self.values = {
            "flip": flip, "rotate": rotate, "translate": translate, "scale": scale,
            "brightness": brightness, "contrast": contrast, "erase": erase,
        }  # fmt: skip
        for name, limit in {**limits, "rotate": 180.0}.items():
            if not 0 <= self.values[name] <= limit:
                raise UserError(f"data.augment.{name}={self.values[name]}: from 0 to {limit:g}")

    def __call__(self, images: Tensor) -> Tensor:
        """float (N, C, H, W) in [0, 1] -> the same shape and range; draws from the global generator."""
        v = self.values
        if v["rotate"] or v["translate"] or v["scale"]:
            images = warp(images, self._matrices(images))
        elif v["flip"]:
            flip = torch.rand(len(images), device=images.device) < v["flip"]
            images = torch.where(flip.view(-1, 1, 1, 1), images.flip(-1), images)
        if v["contrast"]:
            mean = images.mean((1, 2, 3), keepdim=True)
            images = (images - mean) * (1 + self._uniform(images, "contrast").view(-1, 1, 1, 1)) + mean
        if v["brightness"]:
            images = images * (1 + self._uniform(images, "brightness").view(-1, 1, 1, 1))
        if v["contrast"] or v["brightness"]:
            images = images.clamp(0, 1)
        return self._erase(images) if v["erase"] else images

    def _uniform(self, images: Tensor, name: str, columns: int = 1) -> Tensor:
        return (torch.rand(len(images), columns, device=images.device) * 2 - 1) * self.values[name]

    def _matrices(self, images: Tensor) -> Tensor:
        angle = self._uniform(images, "rotate")[:, 0] * (math.pi / 180)
        zoom = 1 / (1 + self._uniform(images, "scale")[:, 0])
        shift = 2 * self._uniform(images, "translate", 2)  # affine_grid's coordinates run from -1 to 1
        mirror = torch.where(torch.rand(len(images), device=images.device) < self.values["flip"], -1.0, 1.0)
        aspect = images.shape[-1] / images.shape[-2]  # a turn in pixels, not in shares of unlike sides
        rows = torch.stack(
            [
                torch.stack([zoom * angle.cos() * mirror, -zoom * angle.sin() / aspect, shift[:, 0]], 1),
                torch.stack([zoom * angle.sin() * mirror * aspect, zoom * angle.cos(), shift[:, 1]], 1),
            ],
            1,
        )
        return rows  # (N, 2, 3)

    def _erase(self, images: Tensor) -> Tensor:
        n, _, height, width = images.shape
        draw = torch.rand(n, 5, device=images.device)
        area = (0.02 + 0.18 * draw[:, 0]) * height * width
        ratio = torch.exp((draw[:, 1] * 2 - 1) * math.log(3))
        h, w = (area * ratio).sqrt().clamp(max=height), (area / ratio).sqrt().clamp(max=width)
        top, left = draw[:, 2] * (height - h), draw[:, 3] * (width - w)
        y = torch.arange(height, device=images.device)[None] - top[:, None]  # (N, H)
        x = torch.arange(width, device=images.device)[None] - left[:, None]  # (N, W)
        rows, columns = (y >= 0) & (y < h[:, None]), (x >= 0) & (x < w[:, None])
        hole = rows[:, :, None] & columns[:, None] & (draw[:, 4] < self.values["erase"]).view(-1, 1, 1)
        return torch.where(hole[:, None], images.mean((1, 2, 3), keepdim=True), images)


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Sample (N, C, H, W) at `matrices` (N, 2, 3) times the output's coordinates (-1 to 1); the edge is continued."""
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)

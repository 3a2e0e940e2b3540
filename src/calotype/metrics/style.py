"""How near a picture is to a style and to its content, by measures that no network was fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from calotype.metrics.restoration import ssim

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Stylization:
    """What a run made of a picture.

    Attributes:
        content, result: (1, 3, H, W) in [0, 1].
        styles: (1, 3, h, w) each.
        figures: of the result, and of content and style as the ends of the scale.
    """

    content: Tensor
    styles: Sequence[Tensor]
    result: Tensor
    figures: Mapping[str, float]


def luma(images: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N, 1, H, W), the Y of BT.601."""
    return (images * images.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)


def luma_ssim(images: Tensor, content: Tensor) -> Tensor:
    """Structural similarity of the luma of two images (1, 3, H, W): how much of the content's drawing is left."""
    return ssim(luma(images), luma(content))


def patch_distance(images: Tensor, style: Tensor, *, side: int = 7, patches: int = 8192, directions: int = 256, seed: int = 0) -> Tensor:
    """Sliced 1-Wasserstein distance of the patches of two images (1, C, H, W) and (1, C, h, w) of any size (Rabin et al., 2011).

    Patches of `side` x `side` pixels are drawn (all of them, in a random order, where there are fewer than `patches` in either), and
    projected to random directions of unit length; the mean over directions of the mean difference of the sorted projections. Two images of
    grey levels a and b are about 0.8 |a - b| apart.

    Args:
        seed: of the draw of patches and directions.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    sets = [F.unfold(image.double().cpu(), side)[0].T for image in (images, style)]  # (P, C side side)
    count = min(patches, *(len(x) for x in sets))
    for x in sets:
        drawn.append(x[torch.randperm(len(x), generator=generator)[:count]])
    axes = F.normalize(torch.randn(drawn[0].shape[1], directions, generator=generator, dtype=torch.float64), dim=0)
    first, second = ((x @ axes).sort(0).values for x in drawn)
    return (first - second).abs().mean()

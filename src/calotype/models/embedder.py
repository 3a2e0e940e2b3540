"""Any classifier's network as one that gives points on the unit sphere."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from calotype.ranges import Positive
from calotype.types import Embeddings, ImageShape


class Embedder(nn.Module):
    """A backbone whose last layer gives D numbers, standardised over the batch and scaled to length 1.

    A network starts with all images in a narrow cone. Standardising spreads them over the sphere from the first step,
    and leaves no way to make one point of them, which is how learning distances fails most often.

    Args:
        image_shape: (channels, height, width).
        backbone: called with (image_shape, D): any model of task classification.
        embedding_size: D.
        standardize: BatchNorm without scale and shift before that; over the images of one process.
        normalize: scale to length 1; squared distances are then 0 to 4.

    Shapes: images (N, C, H, W) -> embeddings (N, D), single precision.
    """

    takes_points: ClassVar = True  # and images

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        backbone: Callable[..., nn.Module],
        embedding_size: Positive = 128,
        standardize: bool = True,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.norm: nn.Module = nn.BatchNorm1d(embedding_size, affine=False) if standardize else nn.Identity()
        self.backbone = backbone(image_shape, embedding_size)
        self.embedding_size = embedding_size
        self.normalize = normalize

    @property
    def features(self) -> nn.Module | None:
        """What may be pretrained, and then learns more slowly."""
        found = getattr(self.backbone, "features", None)
        return found if isinstance(found, nn.Module) else None

    def forward(self, images: Tensor) -> Embeddings:
        embeddings = self.norm(self.backbone(images).float()).float()
        return F.normalize(embeddings, dim=1) if self.normalize else embeddings

"""Pretrained features as points on the unit sphere: a start that is good before the first step, and is then tuned."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.ranges import Positive
from calotype.types import Embeddings, ImageShape


class FeatureEmbedder(nn.Module):
    """Features, standardised, projected by an orthogonal matrix that is drawn, scaled to length 1.

    Standardising matters most: raw features share a large mean, beside which people hardly differ. A drawn projection
    keeps distances (Johnson & Lindenstrauss), whatever people it will be used on; one fitted to a few training
    people (PCA) does not, and training can still turn it.

    Args:
        image_shape: (channels, height, width).
        features: a module images -> (N, F).
        embedding_size: D; null for the features as they are, standardised.
        frozen: train the projection only.

    BatchNorm inside the features keeps its pretrained statistics: those of a batch of a few people would be no better.

    Shapes: images (N, C, H, W) -> embeddings (N, D), single precision.
    """

    def __init__(
        self, image_shape: ImageShape, *, features: nn.Module, embedding_size: Positive | None = 128, frozen: bool = False
    ) -> None:
        super().__init__()
        self.features = features.requires_grad_(not frozen)
        with torch.no_grad():
            num_features = features.eval()(torch.zeros(1, *image_shape)).shape[1]
        self.norm = nn.BatchNorm1d(num_features, affine=False)
        self.embedding_size = embedding_size or num_features
        self.projection: nn.Module = nn.Identity()
        if embedding_size is not None:
            self.projection = nn.Linear(num_features, embedding_size, bias=False)
            nn.init.orthogonal_(self.projection.weight)

    def train(self, mode: bool = True) -> FeatureEmbedder:
        super().train(mode)
        self.features.eval()
        return self

    def forward(self, images: Tensor) -> Embeddings:
        return F.normalize(self.projection(self.norm(self.features(images).float())).float(), dim=1)

"""Embeddings without training by steps: the features themselves, PCA or LDA of them, fitted through scikit-learn."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.models.baselines import Pixels
from calotype.ranges import Positive, Share
from calotype.types import Embeddings, ImageShape


class Projection(nn.Module):
    """Fixed features, centred, projected and scaled to length 1: eigenfaces and Fisherfaces with pixels as features.

    Args:
        image_shape: of the data.
        method: `none`; `pca` (Turk & Pentland, 1991); `lda` after PCA (Belhumeur et al., 1997).
        features: a module images -> (N, D); the pixels by default.
        components: of PCA; as many as there are if fewer. LDA then leaves one less than there are identities.
        shrinkage: of LDA's covariance, 0 to 1; `auto` by Ledoit and Wolf's lemma.

    Shapes: images (N, C, H, W) -> embeddings (N, embedding_size).
    """

    mean: Tensor
    weight: Tensor

    takes_points: ClassVar = True  # and images

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        method: Literal["none", "pca", "lda"] = "none",
        features: nn.Module | None = None,
        components: Positive = 200,
        shrinkage: Share | Literal["auto"] = "auto",
    ) -> None:
        super().__init__()
        self.features = (features or Pixels()).requires_grad_(False).eval()
        self.method = method
        self.components = components
        self.shrinkage = shrinkage
        with torch.no_grad():
            self.num_features = self.features(torch.zeros(1, *image_shape)).shape[1]
        self.register_buffer("mean", torch.zeros(self.num_features))
        self.register_buffer("weight", torch.zeros(0, self.num_features))  # none: the features as they are

    @property
    def embedding_size(self) -> int:
        return len(self.weight) or self.num_features

    def fit(self, features: Tensor, labels: Tensor) -> None:
        """Fit to features (N, D) and identities (N,)."""
        from sklearn.decomposition import PCA
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        if self.method == "none":
            return
        x, y = features.double().cpu().numpy(), labels.cpu().numpy()
        identities = len(set(y.tolist()))
        # Belhumeur's N - C: with more, the spread within identities would be singular.
        most = len(x) - (identities if self.method == "lda" else 1)
        pca = PCA(max(1, min(self.components, most, x.shape[1])), random_state=0).fit(x)
        varies = pca.explained_variance_ > 1e-9 * pca.explained_variance_[0]
        projection, mean = pca.components_[varies], pca.mean_
        if self.method == "lda":
            lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage=self.shrinkage).fit((x - mean) @ projection.T, y)
            rank = min(identities - 1, projection.shape[0])
            projection = lda.scalings_[:, :rank].T @ projection
        self.mean.copy_(torch.from_numpy(mean))
        self.weight = torch.from_numpy(projection).float().to(self.mean.device)

    def train(self, mode: bool = True) -> Projection:
        super().train(mode)
        self.features.eval()
        return self

    def forward(self, images: Tensor) -> Embeddings:
        features = self.features(images).float()
        return F.normalize((features - self.mean) @ self.weight.T if len(self.weight) else features, dim=1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """How many components there are is known only from the checkpoint."""
        if prefix + "weight" in state_dict:
            self.weight = torch.empty_like(state_dict[prefix + "weight"])
        super()._load_from_state_dict(state_dict, prefix, *args)

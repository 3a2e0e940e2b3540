"""Classical classifiers through scikit-learn, under the same command as the networks, so that each figure has its yardstick."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from calotype.ranges import Above0, Positive
from calotype.types import ImageShape, Logits

UNSEEN = -50.0  # bias of a class without a training image; the greatest logit of the others is 0 or more, since they sum to it


class Pixels(nn.Module):
    """The image itself as features, reduced to at most `size` pixels a side. Shapes: (N, C, H, W) -> (N, C * H' * W')."""

    takes_points: ClassVar = True  # and images

    def __init__(self, *, size: Positive = 48) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        if images.ndim == 4 and max(images.shape[-2:]) > self.size:
            scale = self.size / max(images.shape[-2:])
            sizes = [max(1, round(side * scale)) for side in images.shape[-2:]]
            images = nn.functional.interpolate(images, sizes, mode="bilinear", antialias=True, align_corners=False)
        return images.flatten(1)


class LinearBaseline(nn.Module):
    """Whitened PCA and multinomial logistic regression on fixed features.

    Project, scale, regress: each is affine, so once scikit-learn has fitted them they are kept as one weight and
    one bias, and a checkpoint holds tensors only.

    Args:
        image_shape, num_classes: of the data.
        features: a module images -> (N, D); the pixels by default.
        components: of PCA; as many as there are if fewer.
        regularisation: scikit-learn's C, the inverse strength.
        class_weight: `balanced` weighs classes by inverse frequency.
    """

    weight: Tensor
    bias: Tensor

    takes_points: ClassVar = True  # and images

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        *,
        features: nn.Module | None = None,
        components: Positive = 200,
        regularisation: Above0 = 1.0,
        class_weight: Literal["none", "balanced"] = "none",
    ) -> None:
        super().__init__()
        self.features = (features or Pixels()).requires_grad_(False)
        self.components = components
        self.regularisation = regularisation
        self.class_weight = class_weight
        with torch.no_grad():
            num_features = self.features.eval()(torch.zeros(1, *image_shape)).shape[1]
        self.register_buffer("weight", torch.zeros(num_classes, num_features))
        self.register_buffer("bias", torch.zeros(num_classes))

    def fit(self, features: Tensor, labels: Tensor) -> None:
        """Fit to features (N, D) and labels (N,)."""
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression

        x, y = features.double().cpu().numpy(), labels.cpu().numpy()
        pca = PCA(min(self.components, *x.shape), random_state=0).fit(x)
        varies = pca.explained_variance_ > 1e-9 * pca.explained_variance_[0]  # not where pixels never change
        scale = pca.components_[varies] / np.sqrt(pca.explained_variance_[varies])[:, None]  # (components, D), whitening
        weights = None if self.class_weight == "none" else self.class_weight
        classes = np.unique(y)
        if len(classes) > 1:
            regression = LogisticRegression(C=self.regularisation, max_iter=2000, class_weight=weights)
            regression.fit((x - pca.mean_) @ scale.T, y)
            coefficients, intercept = regression.coef_, regression.intercept_
        else:
            coefficients, intercept = np.zeros((1, len(scale))), np.zeros(1)
        if len(classes) == 2:  # scikit-learn gives the second one's log-odds
            coefficients, intercept = np.stack([0 * coefficients[0], coefficients[0]]), np.array([0.0, intercept[0]])
        weight = coefficients @ scale
        self.weight.zero_()[classes] = torch.from_numpy(weight).to(self.weight)
        self.bias.fill_(UNSEEN)[classes] = torch.from_numpy(intercept - weight @ pca.mean_).to(self.bias)

    def forward(self, images: Tensor) -> Logits:
        return self.features(images).float() @ self.weight.T + self.bias


class NearestNeighbour(nn.Module):
    """k nearest neighbours in features, by scikit-learn; the checkpoint holds the training features.

    Args:
        image_shape, num_classes: of the data.
        features: a module images -> (N, D); the pixels by default.
        neighbours: k.
        metric: of the features.

    Shapes: images (N, C, H, W) -> logits (N, K), the log of the (smoothed) share of neighbours of each class.
    """

    stored: Tensor
    labels: Tensor

    takes_points: ClassVar = True  # and images

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        *,
        features: nn.Module | None = None,
        neighbours: Positive = 1,
        metric: Literal["euclidean", "cosine"] = "euclidean",
    ) -> None:
        super().__init__()
        self.features = (features or Pixels()).requires_grad_(False)
        self.num_classes = num_classes
        self.neighbours = neighbours
        self.metric = metric
        self.register_buffer("stored", torch.zeros(0, 0))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.long))
        self._classifier: Any = None

    def fit(self, features: Tensor, labels: Tensor) -> None:
        """Keep features (N, D) and labels (N,)."""
        self.stored, self.labels = features.float().cpu(), labels.cpu()
        self._classifier = None

    def forward(self, images: Tensor) -> Logits:
        from sklearn.neighbors import KNeighborsClassifier

        if self._classifier is None:
            k = min(self.neighbours, len(self.stored))
            self._classifier = KNeighborsClassifier(k, metric=self.metric).fit(self.stored.cpu().numpy(), self.labels.cpu().numpy())
        share = self._classifier.predict_proba(self.features(images).float().cpu().numpy())
        smoothed = torch.full((len(images), self.num_classes), 1e-3)  # a finite loss where no neighbour is of the class
        smoothed[:, torch.from_numpy(self._classifier.classes_)] += torch.from_numpy(share).float()
        return (smoothed / smoothed.sum(1, keepdim=True)).log().to(images.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """The number of training images is known only from the checkpoint."""
        for name in ("stored", "labels"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        self._classifier = None
        super()._load_from_state_dict(state_dict, prefix, *args)

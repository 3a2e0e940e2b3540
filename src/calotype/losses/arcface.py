"""ArcFace: classification of identities on the sphere, with a margin in the angle."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.ranges import Above0, AtLeast0, Positive
from calotype.types import UserError


class ArcFace(nn.Module):
    """Cross entropy of scale * cos(theta_k), the true class's angle widened by a margin (Deng et al., 2019, eq. 3).

    Beyond theta = pi - margin the cosine would rise again; there the penalty goes on as a line, cos(theta) - margin
    sin(margin), as the authors' code has it.

    Args:
        num_classes, embedding_size: C and D; the task gives them.
        margin: radians.
        scale: of the cosines, about 16 to 64; the smaller, the softer.

    The class centres (C, D) are parameters of the loss and are trained with the network.

    Shapes: embeddings (B, D), labels (B,) in 0..C-1 -> ().
    """

    def __init__(self, num_classes: int, embedding_size: Positive, *, margin: AtLeast0 = 0.3, scale: Above0 = 24.0) -> None:
        super().__init__()
        if not 0 <= margin < math.pi / 2 or scale <= 0:
            raise UserError(f"loss.margin={margin}, loss.scale={scale}: a margin of 0 to 1.57 radians, a scale above 0")
        self.margin = margin
        self.scale = scale
        self.centres = nn.Parameter(nn.init.xavier_normal_(torch.empty(num_classes, embedding_size)))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosine = F.normalize(embeddings.float()) @ F.normalize(self.centres).T  # (B, C)
        true = cosine.gather(1, labels[:, None])
        sine = (1 - true.square()).clamp(min=1e-9).sqrt()
        widened = true * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond = true <= -math.cos(self.margin)
        widened = torch.where(beyond, true - self.margin * math.sin(self.margin), widened)
        return F.cross_entropy(self.scale * cosine.scatter(1, labels[:, None], widened), labels)

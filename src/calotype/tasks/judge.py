"""A trained classifier as the judge of generated images: it needs no download."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from calotype.metrics.generation import class_shares, classifier_score, frechet_distance, kernel_distance, neighbour_figures
from calotype.types import DataSpec, UserError

MIN_FOR_DISTANCE = 2  # images that have a covariance


class Judge:
    """Features and probabilities of a classifier, on the CPU and in evaluation mode.

    Args:
        classifier: of task=classification, trained on the same data.
        spec: of the data that are judged.
    """

    def __init__(self, classifier: Any, spec: DataSpec) -> None:
        theirs: DataSpec = classifier.spec
        if theirs.image_shape != spec.image_shape or (spec.class_names and theirs.class_names != spec.class_names):
            raise UserError(
                f"task.classifier: it was trained on other data ({len(theirs.class_names)} classes of {theirs.image_shape}, and here "
                f"{len(spec.class_names)} of {spec.image_shape}); task.classifier=auto trains one on these"
            )
        self.classifier = classifier.eval()
        linear = [m for m in classifier.model.modules() if isinstance(m, nn.Linear)]
        if not linear:
            raise UserError("task.classifier: its network has no fully connected layer whose inputs could serve as features")
        self.last = linear[-1]

    @torch.no_grad()
    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) in [0, 1] -> features before the last layer (N, D), log-probabilities (N, K)."""
        seen: list[Tensor] = []
        hook = self.last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float()))
        try:
            log_p = torch.cat([self.classifier(part) for part in images.split(500)])
        finally:
            hook.remove()
        return torch.cat(seen), log_p

    def figures(self, real: Tensor, drawn: Tensor, wanted: Tensor | None, other_real: Tensor | None, *, k: int) -> dict[str, float]:
        """Of as many drawn as real images; `wanted`: the classes asked for; `other_real`: as many, for the floor of a distance.

        What so few images cannot give is left out: distances of distributions of one image, neighbours of k images or fewer.
        """
        features, log_p = self.look(drawn)
        real_features, real_log_p = self.look(real)
        figures = {"classifier_score": classifier_score(log_p)}
        if len(real) >= MIN_FOR_DISTANCE:
            figures["frechet_distance"] = frechet_distance(real_features, features)
            figures["kid"] = kernel_distance(real_features, features)
        if len(real) > k:
            figures |= neighbour_figures(real_features, features, k=k)
        figures |= class_shares(log_p)
        if wanted is not None:
            figures["condition_accuracy"] = (log_p.argmax(1) == wanted).float().mean().item()
        if other_real is not None and min(len(real), len(other_real)) >= MIN_FOR_DISTANCE:
            figures["frechet_floor"] = frechet_distance(real_features, self.look(other_real)[0])
        if other_real is not None:
            figures["real_classifier_score"] = classifier_score(real_log_p)
        return figures


def too_few(count: int, k: int) -> str:
    """Return which metrics so many real images cannot give, or nothing."""
    if count < MIN_FOR_DISTANCE:
        return f"frechet_distance, kid, precision, recall, density and coverage take more than {max(k, MIN_FOR_DISTANCE - 1)}"
    return f"precision, recall, density and coverage take more than task.neighbours={k}" if count <= k else ""

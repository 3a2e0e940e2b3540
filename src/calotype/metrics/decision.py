"""What validation data say about distances: the threshold, the probability, how near strangers come. Kept in the checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from calotype.metrics.verification import best_threshold, error_rates

TAIL = 4096  # distances kept: the smallest of impostor pairs


class Decision(nn.Module):
    """Fitted to validation pairs, applied to test pairs and to a user's images. Distances that it has never seen are nan's.

    threshold: where FMR + FNMR is smallest. probability: logistic regression of the truth on the distance, both kinds
    of pairs weighed alike, so it is the probability of one identity where that is as likely as not beforehand.
    """

    threshold: Tensor
    calibration: Tensor
    strangers: Tensor
    num_impostors: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("threshold", torch.tensor(torch.nan, dtype=torch.float64))
        self.register_buffer("calibration", torch.full((2,), torch.nan, dtype=torch.float64))  # slope, intercept
        self.register_buffer("strangers", torch.full((TAIL,), torch.inf, dtype=torch.float64))
        self.register_buffer("num_impostors", torch.tensor(0))

    @property
    def known(self) -> bool:
        return bool(self.threshold.isfinite())

    def forget(self) -> None:
        """The network is about to change: what was fitted no longer holds."""
        self.threshold.fill_(torch.nan)

    def fit(self, distances: Tensor, same: Tensor) -> None:
        """Shapes: distances (M,), same (M,) bool; both kinds must be there."""
        self.threshold.fill_(best_threshold(error_rates(distances, same)))
        self.calibration.copy_(logistic(distances, same))
        impostors = distances[~same].double().sort().values
        self.strangers.fill_(torch.inf)
        kept = impostors[:TAIL]
        self.strangers[: len(kept)] = kept
        self.num_impostors.fill_(len(impostors))

    def probability(self, distances: Tensor) -> Tensor:
        """Of one identity, (M,) -> (M,); the distances may lie on another device than what was fitted."""
        slope, intercept = self.calibration.tolist()
        return torch.sigmoid(slope * distances.double() + intercept)

    def threshold_for(self, fpir: float, gallery_size: int) -> tuple[float, bool]:
        """The threshold at which a share `fpir` of strangers' searches returns anybody, and whether validation resolves it.

        From FPIR = 1 - (1 - FMR)^N, which takes the N comparisons as independent. A threshold of one comparison is
        none of a search: with N it must be far stricter. Where validation has too few impostor pairs to tell so small
        an FMR, the nearest of them is the limit.
        """
        fmr = 1 - (1 - fpir) ** (1 / max(1, gallery_size))
        allowed = int(fmr * int(self.num_impostors))
        place = min(allowed, TAIL - 1, max(0, int(self.num_impostors) - 1))
        limit = self.strangers[place].item()
        return limit, allowed >= 1


def logistic(distances: Tensor, same: Tensor, *, steps: int = 50) -> Tensor:
    """Slope and intercept of a weighted logistic regression, by Newton's method; a slight ridge keeps separable data finite."""
    x = distances.double()
    centre, spread = x.mean(), x.std().clamp(min=1e-12)
    design = torch.stack([(x - centre) / spread, torch.ones_like(x)], 1)  # (M, 2)
    weight = torch.where(same, 0.5 / same.sum().double(), 0.5 / (~same).sum().double())
    target, ridge = same.double(), 1e-4 * torch.eye(2, dtype=torch.float64, device=x.device)
    beta = torch.zeros(2, dtype=torch.float64, device=x.device)
    for _ in range(steps):
        p = torch.sigmoid(design @ beta)
        gradient = design.T @ (weight * (p - target)) + ridge @ beta
        hessian = (design.T * (weight * p * (1 - p))) @ design + ridge
        step = torch.linalg.solve(hessian, gradient)
        step = step * (4 / step.norm().clamp(min=4))  # far from the optimum a whole step can overshoot
        beta = beta - step
        if step.norm() < 1e-10:
            break
    slope = beta[0] / spread
    return torch.stack([slope, beta[1] - slope * centre])

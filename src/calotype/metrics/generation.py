"""How near generated data are to real ones: by a classifier's features, and by the modes of a mixture that is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from calotype.types import UserError


def classifier_score(log_probabilities: Tensor) -> float:
    """exp E KL(p(y|x) || p(y)), 1 to K: sure of each, and even over classes (Salimans et al., 2016, with one's own classifier).

    Shapes: (N, K) log-probabilities. It is no Inception score, and compares only under the same classifier.
    """
    log_p = log_probabilities.double()
    log_mean = torch.logsumexp(log_p, 0) - math.log(len(log_p))
    # A class of probability 0 adds nothing, where 0 times minus infinity would be no number.
    each = torch.where(log_p.exp() > 0, log_p.exp() * (log_p - log_mean), 0).sum(1)
    return math.exp(each.mean().item())


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """|m - n|^2 + tr(S + T - 2 (S T)^1/2) of the normal distributions with the features' means and covariances (Heusel et al., 2017).

    Biased upwards for few items: compare at equal numbers, beside the distance of two real halves. Shapes: (N, D), (M, D), 2 items or more.
    """
    x, y = first.double(), second.double()
    s, t = (torch.atleast_2d(torch.cov(z.T)) for z in (x, y))
    values, vectors = torch.linalg.eigh(s)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    # The trace of (S T)^1/2 is that of (S^1/2 T S^1/2)^1/2, which is symmetric.
    shared = torch.linalg.eigvalsh(root @ t @ root).clamp(min=0).sqrt().sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + s.trace() + t.trace() - 2 * shared)


class InceptionDistance:
    """Frechet distance of features of Inception-v3 (Heusel et al., 2017) by torchmetrics, with torch-fidelity's weights: papers' FID.

    Args:
        weights: `download`, or a file of torch-fidelity's weights.

    Called with images (N, C, H, W) and (M, C, H, W) in [0, 1], grey or colour; at equal N and M it compares with others' only where they
    took as many.
    """

    def __init__(self, weights: str) -> None:
        from torchmetrics.image.fid import FrechetInceptionDistance

        path = None if weights == "download" else weights
        try:
            self.metric: Any = FrechetInceptionDistance(normalize=True, feature_extractor_weights_path=path)
        except ModuleNotFoundError:
            raise UserError(f"task.inception={weights}: needs torch-fidelity: pip install 'calotype[inception]'") from None
        except Exception as error:
            told = " ".join(str(error).split())
            raise UserError(
                f"task.inception={weights}: no weights of Inception ({told}); give torch-fidelity's file, or task.inception=null"
            ) from None

    def __call__(self, real: Tensor, drawn: Tensor) -> float:
        self.metric.reset()
        for images, kind in ((real, True), (drawn, False)):
            for part in images.split(100):
                self.metric.update(part.cpu().float().expand(-1, 3, -1, -1), real=kind)
        return float(self.metric.compute())


def kernel_distance(first: Tensor, second: Tensor) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / D + 1)^3, unbiased, hence below 0 at times (KID; Binkowski et al., 2018).

    Shapes: (N, D), (M, D), 2 items or more.
    """
    x, y = first.double(), second.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    within = 0.0
    for z in (x, y):
        k = kernel(z, z)
        within += float((k.sum() - k.trace()) / (len(z) * (len(z) - 1)))
    return within - 2 * float(kernel(x, y).mean())


def neighbour_figures(real: Tensor, generated: Tensor, *, k: int = 5) -> dict[str, float]:
    """precision, recall (Kynkaanniemi et al., 2019), density and coverage (Naeem et al., 2020) by k nearest neighbours.

    A real item's ball reaches to its k-th nearest among the others. Precision: generated items in any real ball; density: real balls a
    generated item lies in, over k; coverage: real balls that hold a generated item; recall: real items in any generated ball.
    Shapes: (N, D), (M, D), more than k items each.
    """
    x, y = real.float(), generated.float()
    real_radius, generated_radius = _radius(x, k), _radius(y, k)
    in_ball = torch.zeros(len(y), dtype=torch.bool)
    balls = torch.zeros(len(y))
    covered = torch.zeros(len(x), dtype=torch.bool)
    recalled = torch.zeros(len(x), dtype=torch.bool)
    for start in range(0, len(x), 1024):
        here = slice(start, start + 1024)
        distance = torch.cdist(x[here], y)
        inside = distance < real_radius[here, None]
        in_ball |= inside.any(0)
        balls += inside.sum(0)
        covered[here] = inside.any(1)
        recalled[here] = (distance < generated_radius[None]).any(1)
    found = {"precision": in_ball, "recall": recalled, "density": balls / k, "coverage": covered}
    return {name: value.float().mean().item() for name, value in found.items()}


def mixture_figures(points: Tensor, centres: Tensor, std: float) -> dict[str, float]:
    """Of points (N, D) and a mixture of K equally likely Gaussians: modes, high_quality and mode_kl (PacGAN, Lin et al., 2018).

    A point belongs to the nearest centre, and is of high quality within 3 std of it; a mode is covered by one such point. mode_kl is
    KL(share of the modes among points of high quality || uniform) in nats, 0 where they are even; ln K where there are none.
    """
    distance, mode = torch.cdist(points.double(), centres.double()).min(1)
    good = distance <= 3 * std
    counts = torch.bincount(mode[good], minlength=len(centres)).double()
    share = counts / counts.sum().clamp(min=1)
    kl = (torch.xlogy(share, share).sum() + math.log(len(centres))).item() if counts.sum() else math.log(len(centres))
    return {"modes": float((counts > 0).sum()), "high_quality": good.double().mean().item(), "mode_kl": kl}


def class_shares(log_probabilities: Tensor) -> Mapping[str, float]:
    """The smallest and largest share of items that are taken for one class; (N, K)."""
    counts = torch.bincount(log_probabilities.argmax(1), minlength=log_probabilities.shape[1]).double()
    return {"least_class": (counts.min() / counts.sum()).item(), "most_class": (counts.max() / counts.sum()).item()}


def _radius(x: Tensor, k: int) -> Tensor:
    """Distance of each item to its k-th nearest among the others, (N,)."""
    parts = []
    for start in range(0, len(x), 1024):
        near = torch.cdist(x[start : start + 1024], x)
        parts.append(near.kthvalue(k + 1, dim=1).values)  # the nearest is the item itself
    return torch.cat(parts)

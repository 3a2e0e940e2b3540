"""What a discriminator and a generator minimise against each other, from the discriminator's logits; and penalties on its slope."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.ranges import Above0, AtLeast0
from calotype.types import UserError

Label = float | Sequence[float]


class NonSaturating(nn.Module):
    """-log D(x) - log(1 - D(G(z))) against -log D(G(z)) (Goodfellow et al., 2014), from logits by softplus, so that nothing overflows.

    Args:
        real_label: what D is to say of real images: 1, a smoothed value (0.9), or a range [0.7, 1] from which every image draws its own
            (one-sided label smoothing; Salimans et al., 2016).

    Shapes: logits of real images (N,) and of generated ones (M,) -> the discriminator's loss; `generator`: (M,) -> the generator's.
    """

    clip: float | None = None
    gradient_penalty: float = 0.0

    def __init__(self, *, real_label: Label = 1.0) -> None:
        super().__init__()
        self.real_label = _checked(real_label)

    def forward(self, real: Tensor, generated: Tensor) -> Tensor:
        label = _labels(real, self.real_label)
        return (label * F.softplus(-real) + (1 - label) * F.softplus(real)).mean() + F.softplus(generated).mean()

    def generator(self, generated: Tensor) -> Tensor:
        return F.softplus(-generated).mean()


class Minimax(NonSaturating):
    """The game as it was first written: the generator minimises log(1 - D(G(z))), whose slope dies where D is sure."""

    def generator(self, generated: Tensor) -> Tensor:
        return -F.softplus(generated).mean()


class LeastSquares(nn.Module):
    """1/2 (D(x) - b)^2 + 1/2 D(G(z))^2 against 1/2 (D(G(z)) - 1)^2, on logits (Mao et al., 2017, eq. 9, a = 0, c = 1).

    Args:
        real_label: b, as in `NonSaturating`.
    """

    clip: float | None = None
    gradient_penalty: float = 0.0

    def __init__(self, *, real_label: Label = 1.0) -> None:
        super().__init__()
        self.real_label = _checked(real_label)

    def forward(self, real: Tensor, generated: Tensor) -> Tensor:
        return 0.5 * (real - _labels(real, self.real_label)).square().mean() + 0.5 * generated.square().mean()

    def generator(self, generated: Tensor) -> Tensor:
        return 0.5 * (generated - 1).square().mean()


class Hinge(nn.Module):
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))) against -D(G(z)) (Lim and Ye, 2017; Miyato et al., 2018, eq. 16)."""

    clip: float | None = None
    gradient_penalty: float = 0.0

    def forward(self, real: Tensor, generated: Tensor) -> Tensor:
        return F.relu(1 - real).mean() + F.relu(1 + generated).mean()

    def generator(self, generated: Tensor) -> Tensor:
        return -generated.mean()


class Wasserstein(nn.Module):
    """-D(x) + D(G(z)) against -D(G(z)), for a critic whose slope is bounded (Arjovsky et al., 2017; Gulrajani et al., 2017).

    Args:
        clip: bound of the critic's weights, set after every step of its; null for none.
        gradient_penalty: weight of (|slope| - 1)^2 between real and generated images, see `slope_penalty`.
    """

    def __init__(self, *, clip: Above0 | None = None, gradient_penalty: AtLeast0 = 0.0) -> None:
        super().__init__()
        if (clip is not None and clip <= 0) or gradient_penalty < 0 or (clip is None) == (gradient_penalty == 0):
            raise UserError(f"loss.clip={clip}, loss.gradient_penalty={gradient_penalty}: one of them above 0 bounds the critic's slope")
        self.clip = clip
        self.gradient_penalty = gradient_penalty

    def forward(self, real: Tensor, generated: Tensor) -> Tensor:
        return generated.mean() - real.mean()

    def generator(self, generated: Tensor) -> Tensor:
        return -generated.mean()


def slope_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, generated: Tensor) -> Tensor:
    """Mean of (|grad D(m)| - 1)^2 at points m drawn evenly between pairs of real and generated images, one draw for an image (WGAN-GP).

    The norm is over all of an image's values. Shapes: (N, ...) each -> ().
    """
    share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
    # The tiny number keeps the root's own slope finite where the critic is flat.
    return ((_slope(critic, real.lerp(generated, share)) + 1e-12).sqrt() - 1).square().mean()


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """1/2 E|grad D(x)|^2 at real images (Mescheder et al., 2018, eq. 9, without gamma). Shapes: (N, ...) -> ()."""
    return 0.5 * _slope(discriminator, real).mean()


def _slope(network: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Squared norm of the gradient at each image, (N,); in single precision, since it is differentiated again."""
    at = at.detach().float().requires_grad_()
    with torch.autocast(at.device.type, enabled=False):
        (slope,) = torch.autograd.grad(network(at).sum(), at, create_graph=True)
    return slope.square().flatten(1).sum(1)


def _checked(label: Label) -> tuple[float, float]:
    low, high = (label, label) if isinstance(label, int | float) else (label if len(label) == 2 else (1, 0))
    if not 0.5 < low <= high <= 1:
        raise UserError(f"loss.real_label={label}: a number above 0.5 and at most 1, or a range of two, [0.7,1]")
    return float(low), float(high)


def _labels(real: Tensor, label: tuple[float, float]) -> Tensor:
    low, high = label
    return torch.empty_like(real).uniform_(low, high) if low < high else torch.full_like(real, low)

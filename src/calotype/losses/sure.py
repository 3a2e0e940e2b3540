"""Stein's unbiased risk estimate: the error against the clean image, in expectation, from the noisy one alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from calotype.ranges import Above0


class Sure(nn.Module):
    """For y = x + n with Gaussian n of known sigma: E|h(y) - x|^2 / D = E[|h(y) - y|^2 / D - sigma^2 + 2 sigma^2 / D div h(y)].

    The divergence is estimated with one random probe (Ramani et al., "Monte-Carlo SURE", 2008). The network h must be given y itself,
    not a fixed noise (Metzler et al., 2018; Jo et al., "Rethinking Deep Image Prior", 2021): model.latent=observed.

    Args:
        sigma: standard deviation of the noise, of 255.
        step: length of the probe's step, of 255.
    """

    def __init__(self, *, sigma: Above0 = 25.0, step: Above0 = 1.0) -> None:
        super().__init__()
        if not (sigma > 0 and step > 0):
            raise ValueError(f"sigma={sigma}, step={step}: above 0")
        self.sigma = sigma / 255
        self.step = step / 255

    def forward(self, output: Tensor, observed: Tensor, known: Tensor) -> Tensor:
        """Without the divergence, which `penalty` adds."""
        return ((output - observed) * known).square().mean() - self.sigma**2

    def penalty(self, network: Callable[[Tensor], Tensor], observed: Tensor, output: Tensor) -> Tensor:
        """2 sigma^2 / D div h, of `output` = network(observed)."""
        probe = torch.randn_like(observed)
        moved = network(observed + self.step * probe)
        return 2 * self.sigma**2 * (probe * (moved - output)).mean() / self.step

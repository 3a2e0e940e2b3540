"""When to stop a deep image prior without seeing the clean image, and which of its outputs to keep."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from calotype.types import ImageShape, UserError


class VarianceStop(nn.Module):
    """Keep the output where the running variance of the outputs is least, and stop when it was not undercut for a while.

    While the network fits the image its outputs settle; when it begins to fit the noise they move again. The variance is
    exponentially windowed (Wang et al., "Early Stopping for Deep Image Prior", 2021, ES-EMV): with a the weight of the newest output,

        variance <- (1 - a) (variance + a |output - mean|^2),  mean <- (1 - a) mean + a output.

    Args:
        image_shape: of the outputs.
        weight: a, 0 to 1.
        start: iterations before which the variance is not looked at, since it is small before anything was learned.
        patience: iterations without a new least variance.
    """

    def __init__(self, image_shape: ImageShape, *, weight: float = 0.007, start: int = 400, patience: int = 300) -> None:
        super().__init__()
        if not 0 < weight < 1 or start < 0 or patience < 1:
            raise UserError(f"task.stop: weight={weight} (0 to 1), start={start} (0 and more), patience={patience} (1 and more)")
        self.weight = weight
        self.start = start
        self.patience = patience
        self.mean: Tensor
        self.variance: Tensor
        self.least: Tensor
        self.since: Tensor
        self.seen: Tensor
        self.register_buffer("mean", torch.zeros(1, *image_shape))
        self.register_buffer("variance", torch.zeros(()))
        self.register_buffer("least", torch.tensor(torch.inf))
        self.register_buffer("since", torch.tensor(0))
        self.register_buffer("seen", torch.tensor(0))

    @property
    def window(self) -> int:
        """Iterations that the rule needs at least."""
        return self.start + self.patience

    def forget(self) -> None:
        for value in (self.mean, self.variance, self.since, self.seen):
            value.zero_()
        self.least.fill_(torch.inf)

    def update(self, output: Tensor) -> Tensor:
        """Whether this output (1, C, H, W) is to be kept in place of earlier ones: a bool tensor, so that no device has to wait."""
        if self.seen == 0:
            self.mean.copy_(output)
        moved = output - self.mean
        self.variance.copy_((1 - self.weight) * (self.variance + self.weight * moved.square().mean()))
        self.mean.add_(moved, alpha=self.weight)
        self.seen += 1
        better = (self.variance < self.least) & (self.seen > self.start)
        self.least.copy_(torch.where(better, self.variance, self.least))
        self.since.copy_(torch.where(better, 0, self.since + 1))
        return better | (self.seen <= self.start)

    @property
    def done(self) -> bool:
        return bool((self.seen > self.start) & (self.since >= self.patience))


class FixedStop(nn.Module):
    """Keep the last output: the run ends after `task.iterations`."""

    window = 1
    done = False

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__()
        self.variance: Tensor
        self.register_buffer("variance", torch.tensor(torch.nan), persistent=False)

    def forget(self) -> None:
        pass

    def update(self, output: Tensor) -> Tensor:
        return torch.ones((), dtype=torch.bool, device=output.device)

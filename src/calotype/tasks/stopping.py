"""When to stop a deep image prior without seeing the clean image, and which of its outputs to keep."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from calotype.ranges import Count, Inside01, Positive
from calotype.types import ImageShape, UserError


class Least(nn.Module):
    """Follows a number that falls and then rises, on its device.

    Args:
        start: values before which it does not look, since they are small before anything was learned.
        patience: values without a new least one, after which it is done.
    """

    def __init__(self, *, start: int, patience: int) -> None:
        super().__init__()
        if start < 0 or patience < 1:
            raise UserError(f"task.stop: start={start} (0 and more), patience={patience} (1 and more)")
        self.start = start
        self.patience = patience
        self.least: Tensor
        self.since: Tensor
        self.seen: Tensor
        self.register_buffer("least", torch.tensor(torch.inf))
        self.register_buffer("since", torch.tensor(0))
        self.register_buffer("seen", torch.tensor(0))

    def forget(self) -> None:
        self.since.zero_()
        self.seen.zero_()
        self.least.fill_(torch.inf)

    def update(self, value: Tensor) -> Tensor:
        """Whether it is the least so far, or before the start: a bool tensor, so that no device has to wait."""
        self.seen += 1
        better = (value < self.least) & (self.seen > self.start)
        self.least.copy_(torch.where(better, value, self.least))
        self.since.copy_(torch.where(better, 0, self.since + 1))
        return better | (self.seen <= self.start)

    @property
    def done(self) -> bool:
        return bool((self.seen > self.start) & (self.since >= self.patience))


class VarianceStop(nn.Module):
    """Keep the output where the running variance of the outputs is least, and stop when it was not undercut for a while.

    While the network fits the image its outputs settle; when it begins to fit the noise they move again. The variance is
    exponentially windowed (Wang et al., "Early Stopping for Deep Image Prior", 2021, ES-EMV): with a the weight of the newest output,

        variance <- (1 - a) (variance + a |output - mean|^2),  mean <- (1 - a) mean + a output.

    Args:
        image_shape: of the outputs.
        weight: a, 0 to 1.
        start, patience: in iterations, see `Least`.
    """

    held = None

    def __init__(self, image_shape: ImageShape, *, weight: Inside01 = 0.007, start: Count = 400, patience: Positive = 300) -> None:
        super().__init__()
        if not 0 < weight < 1:
            raise UserError(f"task.stop: weight={weight} (0 to 1)")
        self.weight = weight
        self.least = Least(start=start, patience=patience)
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(1, *image_shape))
        self.register_buffer("variance", torch.zeros(()))

    @property
    def window(self) -> int:
        """Iterations that the rule needs at least."""
        return self.least.start + self.least.patience

    def forget(self, *, same_tile: bool = False) -> None:
        self.mean.zero_()
        self.variance.zero_()
        self.least.forget()

    def update(self, output: Tensor, held_out_error: Tensor | None = None) -> Tensor:
        """Whether this output (1, C, H, W) is to be kept in place of earlier ones: a bool tensor."""
        if self.least.seen == 0:
            self.mean.copy_(output)
        moved = output - self.mean
        self.variance.copy_((1 - self.weight) * (self.variance + self.weight * moved.square().mean()))
        self.mean.add_(moved, alpha=self.weight)
        return self.least.update(self.variance)

    @property
    def done(self) -> bool:
        return self.least.done


class HeldOutStop(nn.Module):
    """Keep the running average that is nearest to pixels which the fit never saw, and stop when it came no nearer for a while.

    A share of the observed pixels is held out of the loss. Noise there is independent of all that was fitted, so that the squared error
    against them is, but for a constant, the one against the clean image. What is held out is missed by the fit: further fits of the same
    tile see every pixel, and end where the first one was nearest.

    Args:
        image_shape: of the outputs.
        share: of the pixels that is held out, 0 to 1.
        start, patience: in iterations, see `Least`.
    """

    def __init__(self, image_shape: ImageShape, *, share: Inside01 = 0.05, start: Count = 400, patience: Positive = 200) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise UserError(f"task.stop: share={share} (0 to 1)")
        self.share = share
        self.least = Least(start=start, patience=patience)
        self.mask: Tensor
        self.end = 0  # of a further fit, in iterations; 0: the first one, which is to tell
        self.register_buffer("mask", torch.zeros(1, 1, *image_shape[1:]))
        self.register_buffer("variance", torch.tensor(torch.nan), persistent=False)
        self.forget()

    @property
    def held(self) -> Tensor | None:
        """What is held out, (1, 1, H, W) of 0 and 1."""
        return None if self.end else self.mask

    @property
    def window(self) -> int:
        """Iterations that the rule needs at least."""
        return self.least.start + self.least.patience

    def get_extra_state(self) -> int:
        return self.end

    def set_extra_state(self, state: int) -> None:
        self.end = state

    def forget(self, *, same_tile: bool = False) -> None:
        if not same_tile:
            self.end = 0
            self.mask.copy_(torch.rand(self.mask.shape) < self.share)
        elif not self.end:
            self.end = int(self.least.seen - self.least.since)
        self.least.forget()

    def update(self, output: Tensor, held_out_error: Tensor | None = None) -> Tensor:
        """Whether the running average with this mean squared error over `held` is to be kept in place of earlier ones: a bool tensor."""
        if held_out_error is None:
            self.least.seen += 1
            return self.least.seen <= self.end
        return self.least.update(held_out_error)

    @property
    def done(self) -> bool:
        return int(self.least.seen) >= self.end if self.end else self.least.done


class FixedStop(nn.Module):
    """Keep the last output: the run ends after `task.iterations`."""

    held = None
    window = 1
    done = False

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__()
        self.variance: Tensor
        self.register_buffer("variance", torch.tensor(torch.nan), persistent=False)

    def forget(self, *, same_tile: bool = False) -> None:
        pass

    def update(self, output: Tensor, held_out_error: Tensor | None = None) -> Tensor:
        return torch.ones((), dtype=torch.bool, device=output.device)

"""Makes an optimizer and joins a scheduler to it, both given as partials by the config, for `configure_optimizers`."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from calotype.callbacks.plateau import is_plateau
from calotype.ranges import AtLeast0, Below1
from calotype.types import UserError


def own_monitor(module: Any) -> tuple[str, str]:
    """Return the metric by which the task itself is judged, and which way is better: min or max."""
    monitor: str = getattr(module, "own_monitor", next(iter(module.monitors)))
    return monitor, module.monitors[monitor]


def with_schedule(
    optimizer: Optimizer, scheduler: Callable[..., LRScheduler] | None, total_steps: int | float, module: LightningModule | None = None
) -> Any:
    """What Lightning takes from `configure_optimizers`.

    A scheduler whose signature has `total_steps` is told how many there are, and is stepped after every optimizer step;
    any other (StepLR, ExponentialLR) is stepped after every epoch; ReduceLROnPlateau by `callbacks.plateau`.

    Args:
        module: whose own metric a ReduceLROnPlateau watches.
    """
    if scheduler is None:
        return optimizer
    if is_plateau(scheduler):
        return _with_plateau(optimizer, scheduler, module)
    if "total_steps" not in inspect.signature(scheduler).parameters:
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler(optimizer), "interval": "epoch"}}
    if math.isinf(total_steps):
        raise UserError("scheduler: it must know where training ends; set trainer.max_epochs or trainer.max_steps, or scheduler=none")
    made = scheduler(optimizer, total_steps=max(1, int(total_steps)))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": made, "interval": "step"}}


def _with_plateau(optimizer: Optimizer, scheduler: Callable[..., LRScheduler], module: LightningModule | None) -> Any:
    monitor, mode = own_monitor(module)
    asked = getattr(scheduler, "keywords", {}).get("mode", mode)
    if asked != mode:
        raise UserError(f"scheduler.mode={asked}: it watches {monitor}, of which {mode} is better; leave it out")
    config: dict[str, Any] = {"scheduler": scheduler(optimizer, mode=mode), "interval": "epoch"}
    if module is not None and module.automatic_optimization:
        config |= {"monitor": monitor, "frequency": sys.maxsize}  # `callbacks.plateau` steps it, and not Lightning
    return {"optimizer": optimizer, "lr_scheduler": config}


@dataclass
class ByHand:
    """What Lightning's Trainer does only for tasks that leave the steps to it: clips gradients, adds up those of batches.

    Attributes:
        clip, algorithm: the largest norm, or value, of the gradient; None for no limit.
        batches: whose gradients are averaged for one step; an epoch's last ones may be fewer.
    """

    clip: float | None = None
    algorithm: str = "norm"
    batches: int = 1
    waiting: dict[int, int] = field(default_factory=dict)  # id of an optimizer -> batches since its last step


def descend(module: LightningModule, optimizer: Any, loss: Tensor) -> None:
    """One step of a module that optimizes by hand, or the first part of one (`ByHand.batches`)."""
    by_hand: ByHand = getattr(module, "by_hand", None) or ByHand()
    waiting = by_hand.waiting.get(id(optimizer), 0)
    if waiting == 0:
        optimizer.zero_grad()
    module.manual_backward(loss / by_hand.batches if by_hand.batches > 1 else loss)
    if waiting + 1 < by_hand.batches and not module.trainer.is_last_batch:
        by_hand.waiting[id(optimizer)] = waiting + 1
        return

    by_hand.waiting[id(optimizer)] = 0
    if by_hand.clip is not None:
        module.clip_gradients(optimizer, gradient_clip_val=by_hand.clip, gradient_clip_algorithm=by_hand.algorithm)
    optimizer.step()


def step_schedulers(module: LightningModule) -> None:
    """Step, after a batch, the schedulers of a module that optimizes by hand: those of epochs after the last batch of one."""
    trainer: Any = module.trainer
    for config in trainer.lr_scheduler_configs:
        if not is_plateau(config.scheduler) and (config.interval == "step" or trainer.is_last_batch):
            config.scheduler.step()


def warmup_cosine(optimizer: Optimizer, *, total_steps: int, warmup: Below1 = 0.1, final: AtLeast0 = 0.0) -> LambdaLR:
    """Rise in a line over the first `warmup` (share of the steps), then fall along half a cosine to `final` (share of lr).

    Every parameter group keeps its own learning rate, which `OneCycleLR` would replace by one.
    """
    rise = max(1, round(warmup * total_steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        progress = min(1.0, (step - rise) / max(1, total_steps - rise))
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def parameter_groups(module: nn.Module, features: Any, optimizer: Callable[..., Optimizer], feature_lr_factor: float) -> Optimizer:
    """The optimizer of all trained parameters of `module`; those of `features` learn at a share of the rate."""
    ids = {id(p) for p in features.parameters()} if isinstance(features, nn.Module) else set()
    trained = [p for p in module.parameters() if p.requires_grad]
    slow, fast = [p for p in trained if id(p) in ids], [p for p in trained if id(p) not in ids]
    made = optimizer([{"params": group} for group in (fast, slow) if group])
    if slow and feature_lr_factor != 1:
        made.param_groups[-1]["lr"] *= feature_lr_factor
    return made

"""Translation from one kind of image to another, learned from pairs, by a conditional adversarial network."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from calotype.metrics.translation import Translations
from calotype.ranges import AtLeast0, Below1
from calotype.tasks.adversarial_alarm import AdversarialAlarm
from calotype.tasks.averaging import follow
from calotype.tasks.gan import still
from calotype.tasks.schedule import descend, step_schedulers, with_schedule
from calotype.types import DataSpec, ImagePairBatch, Needs, UserError


class Translation(LightningModule):
    """A generator that is near the target and that a discriminator of (input, image) cannot tell from it (Isola et al., 2017).

    Args:
        spec: of the data; `calotype.run` gives it.
        model: called with (image_shape, input_shape); has `generator`, `discriminator`.
        loss: called without arguments; of `losses.adversarial`.
        optimizer: called with the parameters of a network.
        scheduler: called with each optimizer; see `with_schedule`.
        l1_weight: of the mean absolute difference from the target.
        adversarial_weight: of the game; 0 leaves the difference alone, and is the yardstick for it.
        average: weight of the past in the running average of the generator, which is tested and used; 0 for none.

    Logged: train/d_loss, train/g_loss, train/l1, val/psnr and so on, test/... (see `metrics.translation`).
    """

    trains_in_turn: ClassVar = True  # the networks, each with its own optimizer
    needs: ClassVar = Needs(batch=ImagePairBatch, model="Translated", loss=("real", "generated"))
    # What a callback may watch, and which way is better; the first is what early stopping watches by itself.
    monitors: ClassVar = {"val/psnr": "max", "train/l1": "min"}

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: Callable[..., nn.Module],
        loss: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None = None,
        l1_weight: AtLeast0 = 100.0,
        adversarial_weight: AtLeast0 = 1.0,
        average: Below1 = 0.999,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        if min(l1_weight, adversarial_weight) < 0 or not 0 <= average < 1:
            raise UserError(
                f"task: l1_weight={l1_weight}, adversarial_weight={adversarial_weight}: 0 and more; average={average}: 0 to below 1"
            )
        assert spec.input_shape is not None
        self.spec = spec
        self.model: Any = model(spec.image_shape, spec.input_shape)
        if not hasattr(self.model, "discriminator"):  # a network of somebody else's
            raise UserError(f"model: {type(self.model).__name__} has no single discriminator; choose model=gan/unet_patch")
        self.loss: Any = loss()
        if getattr(self.loss, "gradient_penalty", 0):
            raise UserError("loss=gan/wasserstein_gp: patches have no slope of their own to penalise; choose loss=gan/least_squares")
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.l1_weight, self.adversarial_weight = l1_weight, adversarial_weight
        self.average_weight = average
        self.average: Any = copy.deepcopy(self.model.generator).requires_grad_(False) if average else None
        self.steps: Tensor
        self.register_buffer("steps", torch.tensor(0))
        self.alarm = AdversarialAlarm()
        self.translations = Translations()

    @staticmethod
    def mismatch(*, model: Any, **_: Any) -> str:
        """What keeps these classes from working together, or nothing; check.py asks it before anything is built."""
        return (
            f"model: {model.__name__} has no single discriminator; choose model=gan/unet_patch"
            if getattr(model, "goes_back", False)
            else ""
        )

    @property
    def alarms(self) -> list[str]:
        return self.alarm.told

    @property
    def network(self) -> Any:
        """The generator that is used: its running average, where there is one."""
        return self.model.generator if self.average is None else self.average

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D, H, W) in [0, 1], by the running average of the generator."""
        return self.network(inputs).clamp(0, 1)

    def training_step(self, batch: ImagePairBatch, batch_idx: int) -> None:
        optimizers: Any = self.optimizers()
        g_optimizer, d_optimizer = optimizers
        discriminator = self.model.discriminator
        generated = self.model.generator(batch.inputs)
        l1 = (generated - batch.targets).abs().mean()
        loss = self.l1_weight * l1
        if self.adversarial_weight:
            real, made = (discriminator(torch.cat([batch.inputs, x], 1)) for x in (batch.targets, generated.detach()))
            d_loss = self.loss(real, made)
            descend(self, d_optimizer, d_loss)
            discriminator.requires_grad_(False)
            with still(discriminator):
                loss = loss + self.adversarial_weight * self.loss.generator(discriminator(torch.cat([batch.inputs, generated], 1)))
            self.log("train/d_loss", d_loss.detach(), prog_bar=True)
        descend(self, g_optimizer, loss)
        discriminator.requires_grad_(True)
        self.steps += 1
        if self.average is not None:
            follow(self.average, self.model.generator, self.average_weight, int(self.steps))
        self.log_dict({"train/g_loss": loss.detach(), "train/l1": l1.detach()}, prog_bar=True)
        if int(self.steps) % 20 == 0:
            norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.generator.parameters() if p.grad is not None])
            self.alarm.look("g", loss.item(), norm.item())
            if self.adversarial_weight:
                self.alarm.look("d", d_loss.item(), 0.0)
        step_schedulers(self)

    def on_train_epoch_end(self) -> None:
        told = self.alarm.end_of_epoch(self.current_epoch)
        if told:
            warnings.warn(told, stacklevel=1)

    def validation_step(self, batch: ImagePairBatch, batch_idx: int) -> None:
        self.translations.update(batch, self(batch.inputs).float())

    def on_validation_epoch_end(self) -> None:
        self._log_figures("val")

    def on_test_epoch_start(self) -> None:
        self.translations.forget()

    def test_step(self, batch: ImagePairBatch, batch_idx: int) -> None:
        self.translations.update(batch, self(batch.inputs).float())

    def on_test_epoch_end(self) -> None:
        self._log_figures("test")

    def configure_optimizers(self) -> Any:
        made = [self.optimizer(list(network.parameters())) for network in (self.model.generator, self.model.discriminator)]
        scheduled = [with_schedule(one, self.scheduler, self.trainer.estimated_stepping_batches, self) for one in made]
        return made if self.scheduler is None else scheduled

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["spec"] = self.spec._asdict()

    def _log_figures(self, side: str) -> None:
        for name, value in self.translations.figures().items():
            self.log(f"{side}/{name}", value, prog_bar=name == "psnr", sync_dist=True)
        self.translations.forget()

"""Translation between two kinds of image that come without pairs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from calotype.metrics.translation import Translations
from calotype.ranges import AtLeast0, Count
from calotype.tasks.adversarial_alarm import AdversarialAlarm
from calotype.tasks.schedule import descend, step_schedulers, with_schedule
from calotype.types import DataSpec, ImagePairBatch, Needs, UserError


class CycleGAN(LightningModule):
    """Two generators that undo one another, each against a discriminator of its kind of image (Zhu et al., 2017).

    Args:
        spec: of the data; `calotype.run` gives it.
        model: called with (image_shape, input_shape); has `forth`, `back`, `judge_targets`, `judge_inputs`.
        loss: called without arguments; of `losses.adversarial`, the paper's is least squares.
        optimizer: called with the parameters of both generators, and of both discriminators.
        scheduler: called with each optimizer; see `with_schedule`.
        cycle_weight: of |back(forth(x)) - x| + |forth(back(y)) - y|, means over pixels.
        identity_weight: of |forth(y) - y| + |back(x) - x|, where both kinds have as many channels; holds colours.
        buffer: earlier generated images that the discriminators are shown half of the time (Shrivastava et al., 2017).

    Logged: train/d_loss, train/g_loss, train/cycle, val/psnr and so on (against the true partners, which training never sees), test/...
    """

    trains_in_turn: ClassVar = True  # the networks, each with its own optimizer
    needs: ClassVar = Needs(batch=ImagePairBatch, model="Translated", loss=("real", "generated"))
    # What a callback may watch, and which way is better; the first is what early stopping watches by itself.
    monitors: ClassVar = {"val/psnr": "max", "train/cycle": "min"}

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: Callable[..., nn.Module],
        loss: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None = None,
        cycle_weight: AtLeast0 = 10.0,
        identity_weight: AtLeast0 = 0.0,
        buffer: Count = 50,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        if min(cycle_weight, identity_weight) < 0 or buffer < 0:
            raise UserError(f"task: cycle_weight={cycle_weight}, identity_weight={identity_weight}, buffer={buffer}: 0 and more")
        assert spec.input_shape is not None
        if identity_weight and spec.input_shape != spec.image_shape:
            raise UserError(f"task.identity_weight={identity_weight}: the two kinds have unlike channels; set it to 0")
        self.spec = spec
        self.model: Any = model(spec.image_shape, spec.input_shape)
        if not hasattr(self.model, "back"):  # a network of somebody else's
            raise UserError(f"model: {type(self.model).__name__} has no way back; choose model=gan/cycle")
        self.loss: Any = loss()
        if getattr(self.loss, "gradient_penalty", 0):
            raise UserError("loss=gan/wasserstein_gp: patches have no slope of their own to penalise; choose loss=gan/least_squares")
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight
        self.steps: Tensor
        self.register_buffer("steps", torch.tensor(0))
        self.earlier = nn.ModuleList(ImageBuffer(buffer, shape) for shape in (spec.image_shape, spec.input_shape))
        self.alarm = AdversarialAlarm()
        self.translations = Translations()

    @staticmethod
    def mismatch(*, model: Any, **_: Any) -> str:
        """What keeps these classes from working together, or nothing; check.py asks it before anything is built."""
        return f"model: {model.__name__} has no way back; choose model=gan/cycle" if not getattr(model, "goes_back", True) else ""

    @property
    def alarms(self) -> list[str]:
        return self.alarm.told

    @property
    def network(self) -> Any:
        """The generator of targets."""
        return self.model.forth

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D, H, W) in [0, 1]."""
        return self.network(inputs)

    def training_step(self, batch: ImagePairBatch, batch_idx: int) -> None:
        optimizers: Any = self.optimizers()
        g_optimizer, d_optimizer = optimizers
        model = self.model
        x, y = batch.inputs, batch.targets
        judges = (model.judge_targets, model.judge_inputs)

        made, unmade = model.forth(x), model.back(y)
        cycle = (model.back(made) - x).abs().mean() + (model.forth(unmade) - y).abs().mean()
        for judge in judges:
            judge.requires_grad_(False)
        loss = self.loss.generator(judges[0](made)) + self.loss.generator(judges[1](unmade)) + self.cycle_weight * cycle
        if self.identity_weight:
            loss = loss + self.identity_weight * ((model.forth(y) - y).abs().mean() + (model.back(x) - x).abs().mean())
        descend(self, g_optimizer, loss)
        for judge in judges:
            judge.requires_grad_(True)

        d_loss = x.new_zeros(())
        for judge, real, generated, earlier in zip(judges, (y, x), (made, unmade), self.earlier, strict=True):
            d_loss = d_loss + self.loss(judge(real), judge(earlier(generated.detach())))
        descend(self, d_optimizer, d_loss)

        self.steps += 1
        self.log_dict({"train/d_loss": d_loss.detach(), "train/g_loss": loss.detach(), "train/cycle": cycle.detach()}, prog_bar=True)
        if int(self.steps) % 20 == 0:
            self.alarm.look("g", loss.item(), 0.0)
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
        model = self.model
        pairs = ((model.forth, model.back), (model.judge_targets, model.judge_inputs))
        made = [self.optimizer([*a.parameters(), *b.parameters()]) for a, b in pairs]
        scheduled = [with_schedule(one, self.scheduler, self.trainer.estimated_stepping_batches, self) for one in made]
        return made if self.scheduler is None else scheduled

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["spec"] = self.spec._asdict()

    def _log_figures(self, side: str) -> None:
        for name, value in self.translations.figures().items():
            self.log(f"{side}/{name}", value, prog_bar=name == "psnr", sync_dist=True)
        self.translations.forget()


class ImageBuffer(nn.Module):
    """Keeps `size` generated images; once full, gives an earlier one in place of half of the new ones, which take its place."""

    def __init__(self, size: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.images: Tensor
        self.held: Tensor
        self.register_buffer("images", torch.zeros(size, *image_shape))
        self.register_buffer("held", torch.tensor(0))

    def forward(self, generated: Tensor) -> Tensor:
        size = len(self.images)
        if not size:
            return generated
        given = generated.clone()
        for i, image in enumerate(generated):
            held = int(self.held)
            if held < size:
                self.images[held] = image
                self.held += 1
            elif torch.rand(()) < 0.5:
                place = int(torch.randint(size, ()))
                given[i] = self.images[place]
                self.images[place] = image
        return given

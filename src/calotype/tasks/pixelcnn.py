"""Exact likelihoods of images by the pixels before each pixel, and images drawn from them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from calotype.data.levels import check_levels
from calotype.metrics.likelihood import independent_pixels, png_bits
from calotype.ranges import Below1, Count, Positive, Two
from calotype.tasks.averaging import follow
from calotype.tasks.gan_train import classifier_accuracies
from calotype.tasks.pixel_draw import draw_pixels
from calotype.tasks.schedule import with_schedule
from calotype.types import DataSpec, Needs, UnlabelledBatch, UserError


class PixelLikelihood(LightningModule):
    """Maximises sum log p(pixel | pixels before it, class) (van den Oord et al., 2016).

    Args:
        spec: of the data; `calotype.run` gives it.
        model: called with (image_shape, num_classes, levels); has `start`, `pixel`, `note` for drawing.
        loss: called with (levels); of `losses.likelihood`.
        optimizer: called with the parameters.
        scheduler: called with the optimizer.
        levels: of a pixel, the data's.
        conditional: tell the model the class.
        average: weight of the past in the running average of the model, which is tested and used; 0 for none.
        samples: images that a conditional model draws for the classifiers of the test.
        classifier_steps: of a conditional model, steps of these classifiers, see `tasks.gan_train`; 0 for none.

    Logged: train/bits_per_dim, and of val and test: nll_nats (of an image), bits_per_dim (nll_nats / (values of an image ln 2)); in the
    test also independent_bits_per_dim (each pixel by its own histogram over the training images) and png_bits_per_dim; with
    classifier_steps gan_train_accuracy, few_real_accuracy and augmented_accuracy, the real images being those of the training.
    """

    needs = Needs(batch=UnlabelledBatch, model="Predicted", loss=("predicted", "images"))
    # What a callback may watch, and which way is better; the first is what early stopping watches by itself.
    monitors: ClassVar = {"val/nll_nats": "min", "val/bits_per_dim": "min", "train/bits_per_dim": "min"}

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: Callable[..., nn.Module],
        loss: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None = None,
        levels: Two = 2,
        conditional: bool = False,
        average: Below1 = 0.999,
        samples: Positive = 10000,
        classifier_steps: Count = 0,
    ) -> None:
        super().__init__()
        check_levels(levels)
        if not 0 <= average < 1:
            raise UserError(f"task.average={average}: 0 to below 1")
        if samples < 1 or classifier_steps < 0:
            raise UserError(f"task.samples={samples}: at least 1; task.classifier_steps={classifier_steps}: 0 and more")
        if classifier_steps and not conditional:
            raise UserError("task.classifier_steps: classifiers learn from images of known classes; set task.conditional=true, or 0 steps")
        if len(spec.image_shape) != 3:
            raise UserError("task=pixelcnn: draws images, and the data are points")
        if conditional and len(spec.class_names) < 2:
            raise UserError(f"task.conditional=true: the data have {len(spec.class_names)} classes, and a condition takes two")
        self.spec = spec
        self.levels = levels
        self.conditional = conditional
        self.model: Any = model(spec.image_shape, len(spec.class_names) if conditional else 0, levels)
        self.loss: Any = loss(levels=levels)
        if self.model.gives != self.loss.takes:
            raise UserError(
                f"loss: {type(self.loss).__name__} takes {self.loss.takes}, and the model gives {self.model.gives}; choose "
                "loss=pixelcnn/cross_entropy for logits and loss=pixelcnn/logistic_mixture for a mixture"
            )
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.average_weight = average
        self.average: Any = copy.deepcopy(self.model).requires_grad_(False) if average else None
        self.steps: Tensor
        self.register_buffer("steps", torch.tensor(0))
        self.samples = samples
        self.classifier_steps = classifier_steps
        self._nats: list[Tensor] = []

    @property
    def best_model(self) -> Any:
        """The running average, where there is one."""
        return self.model if self.average is None else self.average

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (N, C, H, W) at the run's levels -> nats of each (N,)."""
        return self.loss(self.best_model(images, labels if self.conditional else None), images)

    def draw(
        self,
        n: int,
        *,
        seed: int,
        labels: Tensor | None = None,
        temperature: float = 1.0,
        method: Literal["fast", "full"] = "fast",
        tell: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """`n` images on the CPU; the classes of a conditional model take turns where they are not given."""
        given = torch.full((n, *self.spec.image_shape), torch.nan)
        return self.complete(given, seed=seed, labels=labels, temperature=temperature, method=method, tell=tell)

    def complete(
        self,
        given: Tensor,
        *,
        seed: int,
        labels: Tensor | None = None,
        temperature: float = 1.0,
        method: Literal["fast", "full"] = "fast",
        tell: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Images (N, C, H, W) whose hidden pixels (NaN) are drawn, on the CPU; see `draw_pixels`."""
        check_temperature(temperature)
        if self.conditional and labels is None:
            labels = torch.arange(len(given)) % len(self.spec.class_names)
        model = self.best_model
        was = model.training
        model.eval()
        labels = None if labels is None else labels.to(self.device)
        drawn = draw_pixels(
            model, self.loss, given.to(self.device), labels=labels, seed=seed, temperature=temperature, method=method, tell=tell
        )
        model.train(was)
        return drawn.cpu()

    def training_step(self, batch: UnlabelledBatch, batch_idx: int) -> Tensor:
        predicted = self.model(batch.images, batch.labels if self.conditional else None)
        with torch.autocast(self.device.type, enabled=False):
            bits = self._bits(self.loss(predicted, batch.images).mean())
        self.log("train/bits_per_dim", bits, prog_bar=True)
        return bits

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.steps += 1
        if self.average is not None:
            follow(self.average, self.model, self.average_weight, int(self.steps))

    def on_train_epoch_end(self) -> None:
        if not all(p.isfinite().all() for p in self.model.parameters()):
            raise UserError("the weights are no longer numbers: lower optimizer.lr, or set trainer.gradient_clip_val=1")

    def validation_step(self, batch: UnlabelledBatch, batch_idx: int) -> None:
        self._nats.append(self(batch.images, batch.labels))

    def on_validation_epoch_end(self) -> None:
        self._log_figures("val")

    def test_step(self, batch: UnlabelledBatch, batch_idx: int) -> None:
        self._nats.append(self(batch.images, batch.labels))

    def on_test_epoch_end(self) -> None:
        self._log_figures("test")
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        train, test = (data.quantised(side) for side in ("train", "test"))
        self.log("test/independent_bits_per_dim", independent_pixels(train, test, self.levels))
        self.log("test/png_bits_per_dim", png_bits(test[:1000], self.levels))
        if self.classifier_steps:
            classes = len(self.spec.class_names)
            drawn = self.draw(self.samples, seed=3), torch.arange(self.samples) % classes
            real = data.images("train")
            found = classifier_accuracies(
                real, drawn, data.images("test"), num_classes=classes, steps=self.classifier_steps, seed=0, augment=data.augment
            )
            for name, value in found.items():
                self.log(f"test/{name}", value)

    def configure_optimizers(self) -> Any:
        made = self.optimizer(list(self.model.parameters()))
        return with_schedule(made, self.scheduler, self.trainer.estimated_stepping_batches, self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["spec"] = self.spec._asdict()

    def _bits(self, nats: Tensor) -> Tensor:
        """Of nats of an image, bits of each of its values."""
        return nats / (math.prod(self.spec.image_shape) * math.log(2))

    def _log_figures(self, side: str) -> None:
        nats = torch.cat(self._nats).double().mean()
        self._nats.clear()
        self.log(f"{side}/nll_nats", nats, prog_bar=True, sync_dist=True)
        self.log(f"{side}/bits_per_dim", self._bits(nats), prog_bar=True, sync_dist=True)


def check_temperature(temperature: float) -> None:
    """Raises UserError where nothing can be drawn at it."""
    if not 0 <= temperature < math.inf:
        raise UserError(f"temperature {temperature}: a number from 0 (the likeliest level of every pixel) up")

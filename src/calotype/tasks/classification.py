"""Classification: which of K classes an image shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from calotype.callbacks.run_state import end_training
from calotype.data.items import labels_of
from calotype.metrics.classification import classification_figures
from calotype.metrics.predictions import Predictions
from calotype.ranges import AtLeast0
from calotype.tasks.schedule import parameter_groups, with_schedule
from calotype.trainer_keys import FITTED
from calotype.types import DataSpec, LabelledBatch, Needs, UserError


class Classification(LightningModule):
    """Trains a network that gives logits, or fits a model of scikit-learn's (one with `fit`) to its features.

    Args:
        spec: of the data; `calotype.run` gives it.
        model: called with (image_shape, num_classes).
        loss: called with (class_counts).
        optimizer: called with the parameters that are trained.
        scheduler: called with the optimizer.
        feature_lr_factor: the learning rate of `model.features`, as a share of the rest's: below 1 where they are pretrained.
        flip_test: average the probabilities over an image and its mirror image in evaluation.

    Logged: train/loss, val/loss, val/accuracy and so on, test/... (see `classification_figures`).
    """

    points_model: ClassVar = "mlp"  # which takes points
    needs = Needs(batch=LabelledBatch, model="Logits", loss=("logits", "labels"))
    # What a callback may watch, and which way is better; the first is what early stopping watches by itself.
    monitors: ClassVar = {
        "val/loss": "min",
        "val/accuracy": "max",
        "val/balanced_accuracy": "max",
        "val/auroc": "max",
        "val/average_precision": "max",
        "train/loss": "min",
    }
    # Keys of the trainer that it does not obey with a model that is fitted, and why.
    ignores_fitted: ClassVar = FITTED

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: Callable[..., nn.Module],
        loss: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None = None,
        feature_lr_factor: AtLeast0 = 1.0,
        flip_test: bool = False,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.model = model(spec.image_shape, len(spec.class_names))
        self.loss = loss(class_counts=spec.class_counts)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.feature_lr_factor = feature_lr_factor
        self.flip_test = flip_test
        self.predictions = Predictions()
        self.test_predictions: tuple[Tensor, Tensor, Tensor] | None = None
        self._seen: list[tuple[Tensor, Tensor]] = []  # features and labels, for a model that is fitted
        self.fitted = hasattr(self.model, "fit")
        if self.fitted:
            self.automatic_optimization = False

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> log-probabilities (N, K)."""
        log_p = self.model(images).float().log_softmax(-1)
        if self.flip_test and not self.training:
            mirrored = self.model(images.flip(-1)).float().log_softmax(-1)
            return torch.logaddexp(log_p, mirrored) - math.log(2)
        return log_p

    def unmeasured(self, data: Any) -> dict[str, str]:
        """Return the monitors that this run cannot measure, each with the reason."""
        missing = {"train/loss": "the model is fitted at once"} if self.fitted else {}
        ranks = ("val/auroc", "val/average_precision")
        if len(self.spec.class_names) != 2:
            return missing | dict.fromkeys(ranks, f"it takes two classes, and there are {len(self.spec.class_names)} (see data.positive)")
        if len(labels_of(data.dataset)[list(data.split.val)].unique()) < 2:
            return missing | dict.fromkeys(ranks, "the validation images are of one class; enlarge data.val_fraction")
        return missing

    def training_step(self, batch: LabelledBatch, batch_idx: int) -> Tensor | None:
        if self.fitted:
            with torch.no_grad():
                self._seen.append((self.model.features(batch.images), batch.labels))  # type: ignore[operator]
            return None
        logits = self.model(batch.images)
        if batch_idx == 0 and logits.shape != (len(batch.labels), len(self.spec.class_names)):
            raise UserError(
                f"model gives {tuple(logits.shape)} for {len(batch.labels)} images, "
                f"classification needs ({len(batch.labels)}, {len(self.spec.class_names)}) logits"
            )
        loss = self.loss(logits, batch.labels)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def on_validation_start(self) -> None:
        # Validation stands inside the training epoch, after its last batch: a fitted model is ready in time for it.
        self._fit()

    def on_train_epoch_end(self) -> None:
        self._fit()

    def validation_step(self, batch: LabelledBatch, batch_idx: int) -> None:
        self.predictions.update(self(batch.images), batch.labels, batch.indices)

    def on_validation_epoch_end(self) -> None:
        self._log_figures("val", ("accuracy", "balanced_accuracy", "average_precision", "auroc"))

    def on_test_epoch_start(self) -> None:
        self.predictions.reset()

    def test_step(self, batch: LabelledBatch, batch_idx: int) -> None:
        self.predictions.update(self(batch.images), batch.labels, batch.indices)

    def on_test_epoch_end(self) -> None:
        self.test_predictions = self._log_figures("test", None)

    def configure_optimizers(self) -> Any:
        if self.fitted:
            return None
        optimizer = parameter_groups(self, getattr(self.model, "features", None), self.optimizer, self.feature_lr_factor)
        return with_schedule(optimizer, self.scheduler, self.trainer.estimated_stepping_batches, self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["spec"] = self.spec._asdict()

    def _fit(self) -> None:
        if self._seen and not self.trainer.sanity_checking:
            features, labels = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
            self.model.fit(self.all_gather(features).flatten(0, -2), self.all_gather(labels).flatten())  # type: ignore[operator, union-attr]
            self._seen.clear()
            end_training(self, "fitted")  # one look at the data is all there is to see

    def _log_figures(self, stage: str, only: Sequence[str] | None) -> tuple[Tensor, Tensor, Tensor]:
        logits, labels, index = self.predictions.compute()
        figures = classification_figures(logits, labels, self.spec.class_names)
        if only is not None:
            figures = {name: value for name, value in figures.items() if name in only}
        figures["loss"] = self.loss(logits, labels).item()
        for name, value in figures.items():
            self.log(f"{stage}/{name}", value, prog_bar=name in ("accuracy", "loss"), sync_dist=True)
        self.predictions.reset()
        return logits.cpu(), labels.cpu(), index.cpu()

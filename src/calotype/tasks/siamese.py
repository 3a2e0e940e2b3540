"""Siamese discriminator: whether two images show the same, by one encoder for both and a head that compares."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from calotype.metrics.decision import Decision
from calotype.metrics.evaluation import Evaluation, Pairs, class_groups, evaluate_test, evaluate_validation
from calotype.metrics.predictions import Predictions
from calotype.ranges import Above0, AtLeast0, NotEmpty, Seed, Two
from calotype.tasks.collapse import CollapseAlarm
from calotype.tasks.embeddings import checked_zooms, collected, embedding_size, measure_of, report, views
from calotype.tasks.fitting import fit_to_training_images
from calotype.tasks.schedule import parameter_groups, with_schedule
from calotype.trainer_keys import FITTED_TO_ALL
from calotype.types import DataSpec, IdentityBatch, Needs, PairBatch, UserError


class Siamese(LightningModule):
    """Trains an encoder and a head on pairs, or fits an encoder (PCA, LDA) that has `fit`.

    The distance of two images is what the head gives, or minus the log-odds that they are the same.
    Source: Bromley et al., 1993; Koch et al., 2015.

    Args:
        spec: of the data; `calotype.run` gives it.
        model: the encoder; called with (image_shape).
        head: called with (embedding_size).
        loss: called with nothing; takes (logits, same) or (distances, same), whichever the head gives.
        optimizer: called with the parameters that are trained.
        scheduler: called with the optimizer.
        feature_lr_factor: the learning rate of `model.features`, as a share of the rest's.
        flip_test: take the mean of the embeddings of an image and its mirror image in evaluation.
        zoom_test: and of the image at these zooms, 1 the image as it is, 1.1 its middle enlarged.
        one_shot_ways: candidates of a one-shot trial.
        eval_seed: of galleries, trials and intervals.

    Logged: train/loss, train/accuracy, train/spread (see CollapseAlarm), val/eer, val/auroc, val/accuracy, and test/...
    (see `evaluate_test`).
    """

    points_model: ClassVar = "embedding/mlp"  # which takes points
    needs = Needs(batch=PairBatch, model="Embeddings", loss=("logits|distances", "same"))
    # What a callback may watch, and which way is better; the first is what early stopping watches by itself.
    monitors: ClassVar = {"val/eer": "min", "val/auroc": "max", "val/accuracy": "max", "train/loss": "min", "train/accuracy": "max"}
    # Keys of the trainer that it does not obey with a model that is fitted, and why.
    ignores_fitted: ClassVar = FITTED_TO_ALL

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: Callable[..., nn.Module],
        head: Callable[..., nn.Module],
        loss: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None = None,
        feature_lr_factor: AtLeast0 = 1.0,
        flip_test: bool = False,
        zoom_test: Annotated[Sequence[Above0], NotEmpty] = (1.0,),
        one_shot_ways: Two = 20,
        eval_seed: Seed = 0,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.model = model(spec.image_shape)
        self.head = head(embedding_size(self.model, spec))
        self.loss = loss()
        wrong = self.mismatch(head=type(self.head), loss=type(self.loss), model=type(self.model))
        if wrong:
            raise UserError(wrong)
        self.fitted = hasattr(self.model, "fit")
        if self.fitted:
            self.automatic_optimization = False
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.feature_lr_factor = feature_lr_factor
        self.flip_test = flip_test
        self.zoom_test = checked_zooms(zoom_test)
        self.one_shot_ways = one_shot_ways
        self.eval_seed = eval_seed
        self.decision = Decision()
        self.predictions = Predictions()
        self.alarm = CollapseAlarm()
        self.verification: tuple[Evaluation, Tensor, Tensor, Tensor] | None = None  # of the test: and embeddings, labels, items

    @staticmethod
    def mismatch(*, head: Any, loss: Any, model: Any, **_: Any) -> str:
        """What keeps these classes from working together, or nothing; check.py asks it before anything is built."""
        takes = list(inspect.signature(loss.forward).parameters)[1]
        if takes != head.gives:
            wanted = "loss=binary_cross_entropy" if head.gives == "logits" else "loss=pair_contrastive"
            return f"task/head: {head.__name__} gives {head.gives}, and the loss takes {takes}; choose {wanted}"
        if hasattr(model, "fit") and head.gives != "distances":
            return "model: it is fitted, so no head is trained with it; choose task/head=squared_l2 loss=pair_contrastive"
        return ""

    @property
    def alarms(self) -> list[str]:
        return self.alarm.told

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> embeddings (N, D)."""
        if self.training:
            return self.model(images)
        return torch.stack([self.model(seen) for seen in views(images, flip=self.flip_test, zooms=self.zoom_test)]).mean(0)

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """Of embeddings (..., D) and (..., D): (...), the smaller the more alike."""
        compared = self.head(first, second)
        return compared if self.head.gives == "distances" else -compared

    def on_train_epoch_start(self) -> None:
        self.decision.forget()

    def unmeasured(self, data: Any) -> dict[str, str]:
        """Return the monitors that this run cannot measure, each with the reason."""
        if self.fitted:
            return dict.fromkeys(("train/loss", "train/accuracy"), "the model is fitted at once")
        return {} if self.head.gives == "logits" else {"train/accuracy": "the head gives distances, without a threshold"}

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor | None:
        if self.fitted:
            return None
        embeddings = self.model(batch.images)
        with torch.autocast(self.device.type, enabled=False):
            embeddings = embeddings.float()
            compared = self.head(embeddings[batch.first], embeddings[batch.second])
            loss = self.loss(compared, batch.same)
        self.log("train/loss", loss, prog_bar=True)
        if self.head.gives == "logits":
            self.log("train/accuracy", ((compared > 0) == batch.same).float().mean())
        centre = embeddings.detach().mean(0).expand(len(batch.same), -1)
        spread = self.alarm.look(embeddings.detach(), loss.detach(), lambda: self.loss(self.head(centre, centre), batch.same))
        self.log("train/spread", spread)
        return loss

    def on_validation_start(self) -> None:
        # Validation stands inside the training epoch, after its last batch: a fitted model is ready in time for it.
        fit_to_training_images(self, self.model)

    def on_train_epoch_end(self) -> None:
        fit_to_training_images(self, self.model)
        told = self.alarm.end_of_epoch(self.current_epoch)
        if told:
            warnings.warn(told, stacklevel=1)

    def validation_step(self, batch: IdentityBatch, batch_idx: int) -> None:
        self.predictions.update(self(batch.images), batch.labels, batch.indices)

    def on_validation_epoch_end(self) -> None:
        embeddings, labels, index = collected(self.predictions)
        measure = measure_of(self.distance, embeddings, self.device)
        pairs, _ = self._pairs("val", index)
        report(self, "val", evaluate_validation(measure, labels, pairs, self.decision))

    def on_test_epoch_start(self) -> None:
        self.predictions.reset()

    def test_step(self, batch: IdentityBatch, batch_idx: int) -> None:
        self.predictions.update(self(batch.images), batch.labels, batch.indices)

    def on_test_epoch_end(self) -> None:
        embeddings, labels, index = collected(self.predictions)
        datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        pairs, folds = self._pairs("test", index)
        evaluation = evaluate_test(
            measure_of(self.distance, embeddings, self.device),
            labels,
            pairs,
            self.decision,
            seed=self.eval_seed,
            units=torch.arange(len(labels)) if datamodule.shares_identities else labels,
            groups=class_groups(self.spec.class_names),
            ways=self.one_shot_ways,
            folds=folds,
        )
        report(self, "test", evaluation)
        self.verification = (evaluation, embeddings, labels, index)

    def configure_optimizers(self) -> Any:
        if self.fitted:
            return None
        optimizer = parameter_groups(self, getattr(self.model, "features", None), self.optimizer, self.feature_lr_factor)
        return with_schedule(optimizer, self.scheduler, self.trainer.estimated_stepping_batches, self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["spec"] = self.spec._asdict()

    def _pairs(self, side: str, index: Tensor) -> tuple[Pairs, Tensor | None]:
        """The fixed pairs of a side, by place among its images instead of by item number, and their folds."""
        datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        rows, folds = datamodule.eval_pairs[side], datamodule.folds if side == "test" else None
        seen = torch.isin(rows[:, :2], index).all(1)  # all of them, unless trainer.limit_*_batches left some out
        first, second, same = rows[seen].unbind(1)
        places = torch.searchsorted(index, first.contiguous()), torch.searchsorted(index, second.contiguous())
        return Pairs(*places, same.bool()), None if folds is None else folds[seen]

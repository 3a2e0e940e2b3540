"""FaceNet: embeddings in which images of one identity lie near one another, for identities never seen in training."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from calotype.metrics.decision import Decision
from calotype.metrics.evaluation import Evaluation, all_pairs, class_groups, evaluate_test, evaluate_validation
from calotype.metrics.predictions import Predictions
from calotype.ranges import Above0, AtLeast0, NotEmpty, Positive, Seed, Two
from calotype.tasks.collapse import CollapseAlarm
from calotype.tasks.embeddings import checked_zooms, collected, embedding_size, measure_of, report, views
from calotype.tasks.fitting import fit_to_training_images
from calotype.tasks.schedule import parameter_groups, with_schedule
from calotype.trainer_keys import FITTED_TO_ALL
from calotype.types import DataSpec, IdentityBatch, Needs, UserError


class FaceNet(LightningModule):
    """Trains a network that gives points, by a loss over (embeddings, labels), or fits one (PCA, LDA) that has `fit`.

    The distance of two images is the squared L2 distance of their embeddings, 0 to 4 between unit vectors.
    Source: Schroff et al., "FaceNet", 2015.

    Args:
        spec: of the data; `calotype.run` gives it.
        model: called with (image_shape).
        loss: called with what it takes of num_classes (training identities) and embedding_size; a loss of
            pytorch-metric-learning will do.
        optimizer: called with the parameters that are trained, the loss's among them.
        scheduler: called with the optimizer.
        feature_lr_factor: the learning rate of `model.features`, as a share of the rest's.
        flip_test: take the mean of the embeddings of an image and its mirror image in evaluation.
        zoom_test: and of the image at these zooms, 1 the image as it is, 1.1 its middle enlarged.
        one_shot_ways: candidates of a one-shot trial.
        max_pairs: test pairs; of more a draw is taken.
        eval_seed: of drawn pairs, galleries, trials and intervals.

    Logged: train/loss, train/active (the loss's `active_share`), train/positive_distance, train/negative_distance,
    train/spread (see CollapseAlarm), val/eer, val/auroc, val/accuracy, and test/... (see `evaluate_test`).
    """

    points_model: ClassVar = "embedding/mlp"  # which takes points
    needs = Needs(batch=IdentityBatch, model="Embeddings", loss=("embeddings", "labels"))
    # What a callback may watch, and which way is better; the first is what early stopping watches by itself.
    monitors: ClassVar = {"val/eer": "min", "val/auroc": "max", "val/accuracy": "max", "train/loss": "min", "train/active": "min"}
    # Keys of the trainer that it does not obey with a model that is fitted, and why.
    ignores_fitted: ClassVar = FITTED_TO_ALL

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
        zoom_test: Annotated[Sequence[Above0], NotEmpty] = (1.0,),
        one_shot_ways: Two = 20,
        max_pairs: Positive = 1_000_000,
        eval_seed: Seed = 0,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.model = model(spec.image_shape)
        self.fitted = hasattr(self.model, "fit")
        if self.fitted:
            self.automatic_optimization = False
        trained = torch.tensor(spec.class_counts) > 0
        # Identities of the other sides have no place among the classes of the loss.
        self.register_buffer("class_of", trained.long().cumsum(0) - 1, persistent=False)
        given = {"num_classes": int(trained.sum()), "embedding_size": embedding_size(self.model, spec)}
        takes = inspect.signature(loss).parameters
        self.loss = loss(**{name: value for name, value in given.items() if name in takes})
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.feature_lr_factor = feature_lr_factor
        self.flip_test = flip_test
        self.zoom_test = checked_zooms(zoom_test)
        self.one_shot_ways = one_shot_ways
        self.max_pairs = max_pairs
        self.eval_seed = eval_seed
        self.decision = Decision()
        self.predictions = Predictions()
        self.alarm = CollapseAlarm()
        self.verification: tuple[Evaluation, Tensor, Tensor, Tensor] | None = None  # of the test: and embeddings, labels, items

    @property
    def alarms(self) -> list[str]:
        return self.alarm.told

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> embeddings (N, D)."""
        if self.training:
            return self.model(images)
        looks = [self.model(seen) for seen in views(images, flip=self.flip_test, zooms=self.zoom_test)]
        return looks[0] if len(looks) == 1 else F.normalize(torch.stack(looks).sum(0), dim=1)

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """Of embeddings (..., D) and (..., D): (...)."""
        return (first - second).square().sum(-1)

    def on_train_epoch_start(self) -> None:
        self.decision.forget()

    def unmeasured(self, data: Any) -> dict[str, str]:
        """Return the monitors that this run cannot measure, each with the reason."""
        if self.fitted:
            return dict.fromkeys(("train/loss", "train/active"), "the model is fitted at once")
        return {} if hasattr(self.loss, "active_share") else {"train/active": "the loss chooses no triplets; loss=triplet does"}

    def training_step(self, batch: IdentityBatch, batch_idx: int) -> Tensor | None:
        if self.fitted:
            return None
        embeddings = self.model(batch.images)
        if embeddings.ndim != 2 or len(embeddings) != len(batch.labels):
            raise UserError(f"model gives {tuple(embeddings.shape)} for {len(batch.labels)} images, facenet needs (images, numbers)")
        labels = batch.labels
        if self.trainer.world_size > 1:
            # Mining sees the whole batch. Every process computes the same loss; DDP's mean over processes of the
            # gradients that the gathering sends back is the gradient of one process with the whole batch.
            embeddings = self.all_gather(embeddings, sync_grads=True).flatten(0, 1)  # type: ignore[union-attr]
            labels = self.all_gather(labels).flatten()  # type: ignore[union-attr]
        labels = self.class_of[labels]  # type: ignore[index]
        with torch.autocast(self.device.type, enabled=False):
            loss = self.loss(embeddings.float(), labels)
        self.log("train/loss", loss, prog_bar=True)
        self._log_geometry(embeddings.detach().float(), labels, loss.detach())
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
        embeddings, labels, _ = collected(self.predictions)
        pairs = all_pairs(labels, most=self.max_pairs, seed=self.eval_seed)
        evaluation = evaluate_validation(measure_of(self.distance, embeddings), labels, pairs, self.decision)
        report(self, "val", evaluation)

    def on_test_epoch_start(self) -> None:
        self.predictions.reset()

    def test_step(self, batch: IdentityBatch, batch_idx: int) -> None:
        self.predictions.update(self(batch.images), batch.labels, batch.indices)

    def on_test_epoch_end(self) -> None:
        embeddings, labels, index = collected(self.predictions)
        evaluation = evaluate_test(
            measure_of(self.distance, embeddings),
            labels,
            all_pairs(labels, most=self.max_pairs, seed=self.eval_seed),
            self.decision,
            seed=self.eval_seed,
            units=labels,
            groups=class_groups(self.spec.class_names),
            ways=self.one_shot_ways,
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

    def _log_geometry(self, embeddings: Tensor, labels: Tensor, loss: Tensor) -> None:
        """How near positives and negatives lie, what share of the triplets still teaches, whether all is one point."""
        active = getattr(self.loss, "active_share", None)
        if active is not None:
            self.log("train/active", active)
        first, second = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
        distances, same = torch.cdist(embeddings, embeddings).square()[first, second], labels[first] == labels[second]
        if bool(same.any()) and not bool(same.all()):
            self.log("train/positive_distance", distances[same].mean())
            self.log("train/negative_distance", distances[~same].mean())
        centre = embeddings.mean(0).expand_as(embeddings)
        self.log("train/spread", self.alarm.look(embeddings, loss, lambda: self.loss(centre, labels)))

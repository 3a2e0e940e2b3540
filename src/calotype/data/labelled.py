"""Images with their class: what a classifier is trained on, from any source that has labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from calotype.data.augment import Augment
from calotype.data.items import Items, as_float, images_of, labels_of, select, some
from calotype.data.preprocess import Preprocess
from calotype.data.sampler import EpochSampler
from calotype.data.splits import manifest, official_sets, stratified_split, thinned
from calotype.ranges import AtLeastTwo, Below1, Count, Positive, Seed, Workers
from calotype.types import DataSpec, LabelledBatch, Source, UserError


class Labelled(LightningDataModule):
    """Draws batches of (images, labels), split by class into train, val and test.

    Args:
        dataset: a source with labels.
        preprocess: for every image, once.
        augment: for training images, anew in every batch.
        batch_size: images in a training batch of one process.
        eval_batch_size: images in a validation or test batch of one process.
        val_fraction, test_fraction: shares of the data, 0 to 1; an official test set replaces the second.
        split_seed: of the split.
        seed: of the order of the batches.
        classes: names of those to use, all by default.
        largest_classes: use the classes with most images, so many of them.
        positive: a class's name, set against the rest: it becomes class 1, all others class 0.
        balanced: draw every class equally often in training.
        per_class: training images of each class, drawn by the split's seed where there are more; all by default.
        num_workers: processes that decode images which do not fit `ram_budget_mb`.
        ram_budget_mb: data up to this size is decoded once and kept.
    """

    batch = LabelledBatch

    def __init__(
        self,
        *,
        dataset: Source,
        preprocess: Preprocess,
        augment: Augment | None = None,
        batch_size: Positive = 64,
        eval_batch_size: Positive = 256,
        val_fraction: Below1 = 0.1,
        test_fraction: Below1 = 0.2,
        split_seed: Seed = 0,
        seed: Seed = 0,
        classes: Annotated[Sequence[str | int], AtLeastTwo] | None = None,
        largest_classes: Positive | None = None,
        positive: str | int | None = None,
        balanced: bool = False,
        per_class: Positive | None = None,
        num_workers: Workers = 0,
        ram_budget_mb: Count = 4096,
    ) -> None:
        super().__init__()
        if batch_size < 1 or eval_batch_size < 1:
            raise UserError(f"data.batch_size={batch_size}, data.eval_batch_size={eval_batch_size}: at least 1")
        self.augment = augment
        self.preprocess = preprocess
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.seed = seed
        self.balanced = balanced
        self.num_workers = num_workers
        dataset = select(dataset, classes, largest_classes)
        split = stratified_split(
            labels_of(dataset).tolist(),
            val=val_fraction,
            test=test_fraction,
            seed=split_seed,
            class_names=dataset.class_names,
            **official_sets(dataset),
        )
        if per_class is not None:
            split = thinned(split, labels_of(dataset), per_class, split_seed)
        self.split = split
        self.split_manifest: dict[str, Any] = manifest(split, dataset, kind="stratified", seed=split_seed)
        # The split is drawn before one class is set against the rest: the same images test both questions.
        self.dataset = dataset if positive is None else _one_against_rest(dataset, positive)
        self.items = Items(self.dataset, preprocess, ram_budget=ram_budget_mb * 2**20)
        labels = labels_of(self.dataset)[list(split.train)]
        counts = torch.bincount(labels, minlength=len(self.dataset.class_names))
        self.weights = (1 / counts.double())[labels] if balanced else None
        self.spec = DataSpec(self.items.shape, self.dataset.class_names, tuple(counts.tolist()), self.dataset.channels)

    def setup(self, stage: str) -> None:
        self.items.load()

    def images(self, side: str, most: int | None = None, *, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Up to `most` images of a side (train, val or test) in [0, 1], and their labels, drawn where there are more."""
        return images_of(self.items, getattr(self.split, side), most, seed)

    def image(self, index: int) -> Tensor:
        """The preprocessed image of an item, uint8 (C, H, W)."""
        return self.items.pixels(torch.tensor([index]))[0]

    def train_dataloader(self) -> DataLoader[LabelledBatch]:
        return self._loader(self.split.train, train=True)

    def val_dataloader(self) -> DataLoader[LabelledBatch] | list[Any]:
        return self._loader(self.split.val, train=False) if self.split.val else []

    def test_dataloader(self) -> DataLoader[LabelledBatch] | list[Any]:
        return self._loader(self.split.test, train=False) if self.split.test else []

    def on_after_batch_transfer(self, batch: LabelledBatch, dataloader_idx: int) -> LabelledBatch:
        training = self.trainer is not None and self.trainer.training
        return batch._replace(images=as_float(batch.images, self.augment, training=training))

    def _loader(self, indices: Sequence[int], *, train: bool) -> DataLoader[LabelledBatch]:
        sampler = EpochSampler(
            indices,
            batch_size=self.batch_size if train else self.eval_batch_size,
            train=train,
            seed=self.seed,
            weights=self.weights if train else None,
        )
        return self.items.loader(sampler, num_workers=self.num_workers)


def _one_against_rest(source: Source, positive: str | int) -> Source:
    if str(positive) not in source.class_names:
        raise UserError(f"data.positive={positive}: {source.name} has no such class; it has {some(source.class_names)}")
    labels = (labels_of(source) == source.class_names.index(str(positive))).long()
    return dataclasses.replace(source, labels=labels, class_names=("rest", str(positive)))

"""Images, with their class where there is one: what a generative model is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from calotype.data.augment import Augment
from calotype.data.items import Items, as_float, images_of, labels_of, select, with_labels
from calotype.data.levels import check_levels, quantise
from calotype.data.preprocess import Preprocess
from calotype.data.sampler import EpochSampler
from calotype.data.splits import manifest, official_sets, stratified_split
from calotype.ranges import Below1, Count, NotEmpty, Positive, Seed, Two, Workers
from calotype.types import DataSpec, Source, UnlabelledBatch, UserError


class Unlabelled(LightningDataModule):
    """Draws batches of images from any source, split into train, val and test: by class where it has labels.

    Args:
        dataset: a source.
        preprocess: for every image, once.
        augment: for training images, anew in every batch.
        batch_size: images in a training batch of one process; an epoch's last, smaller one is left out.
        eval_batch_size: images in a validation or test batch of one process.
        val_fraction, test_fraction: shares of the data, 0 to 1; an official test set replaces the second.
        split_seed: of the split.
        seed: of the order of the batches.
        classes: names of those to use, all by default.
        levels: of a pixel, a power of two from 2 to 256: values become k / (levels - 1), k = 0, 1, ...; as they are by default.
        binarise: of two levels: threshold at one half; stochastic, 1 as often as the grey value says, fixed by the item and `seed` of the
            split; or dynamic, the same drawn anew in every training batch, and fixed in evaluation. A likelihood depends on it.
        num_workers: processes that decode images which do not fit `ram_budget_mb`.
        ram_budget_mb: data up to this size is decoded once and kept.
    """

    batch = UnlabelledBatch

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
        classes: Annotated[Sequence[str | int], NotEmpty] | None = None,
        levels: Two | None = None,
        binarise: Literal["threshold", "stochastic", "dynamic"] = "stochastic",
        num_workers: Workers = 0,
        ram_budget_mb: Count = 4096,
    ) -> None:
        super().__init__()
        if batch_size < 1 or eval_batch_size < 1:
            raise UserError(f"data.batch_size={batch_size}, data.eval_batch_size={eval_batch_size}: at least 1")
        if levels is not None:
            check_levels(levels)
        self.levels, self.binarise, self.split_seed = levels, binarise, split_seed
        self.augment = augment
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.seed = seed
        self.num_workers = num_workers
        if classes is not None:
            dataset = select(dataset, classes, None, least=1)
        names = dataset.class_names
        dataset = with_labels(dataset)  # a class that nobody is told of
        split = stratified_split(
            labels_of(dataset).tolist(),
            val=val_fraction,
            test=test_fraction,
            seed=split_seed,
            class_names=dataset.class_names,
            **official_sets(dataset),
        )
        self.split = split
        self.split_manifest: dict[str, Any] = manifest(split, dataset, kind="stratified", seed=split_seed)
        self.dataset = dataset
        self.items = Items(dataset, preprocess, ram_budget=ram_budget_mb * 2**20)
        counts = torch.bincount(labels_of(dataset)[list(split.train)], minlength=len(dataset.class_names))
        self.spec = DataSpec(self.items.shape, names, tuple(counts.tolist()), dataset.channels)

    def setup(self, stage: str) -> None:
        self.items.load()

    def images(self, side: str, most: int | None = None, *, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Up to `most` images of a side (train, val or test) in [0, 1], and their labels, drawn where there are more."""
        return images_of(self.items, getattr(self.split, side), most, seed)

    def quantised(self, side: str) -> Tensor:
        """All images of a side at their levels, as in evaluation: int64 (N, C, H, W) of 0 to levels - 1."""
        assert self.levels is not None
        numbers = torch.tensor(getattr(self.split, side))
        images = as_float(self.items.pixels(numbers), None, training=False)
        images = quantise(images, numbers, self.levels, binarise=self.binarise, seed=self.split_seed, training=False)
        return torch.round(images * (self.levels - 1)).long()

    def train_dataloader(self) -> DataLoader[UnlabelledBatch]:
        return self._loader(self.split.train, train=True)

    def val_dataloader(self) -> DataLoader[UnlabelledBatch] | list[Any]:
        return self._loader(self.split.val, train=False) if self.split.val else []

    def test_dataloader(self) -> DataLoader[UnlabelledBatch] | list[Any]:
        return self._loader(self.split.test, train=False) if self.split.test else []

    def on_after_batch_transfer(self, batch: UnlabelledBatch, dataloader_idx: int) -> UnlabelledBatch:
        training = self.trainer is not None and self.trainer.training
        images = as_float(batch.images, self.augment, training=training)
        if self.levels is not None:
            images = quantise(images, batch.indices, self.levels, binarise=self.binarise, seed=self.split_seed, training=training)
        return batch._replace(images=images)

    def _loader(self, indices: Sequence[int], *, train: bool) -> DataLoader[UnlabelledBatch]:
        batch_size = self.batch_size if train else self.eval_batch_size
        sampler = EpochSampler(indices, batch_size=batch_size, train=train, seed=self.seed)
        return self.items.loader(sampler, num_workers=self.num_workers, as_batch=UnlabelledBatch)

"""Pairs of an image and what is to be made of it, from any source: for translation from one kind of image to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from calotype.data.augment import Augment
from calotype.data.items import Items, as_float, images_of, labels_of, with_labels
from calotype.data.preprocess import Preprocess
from calotype.data.sampler import EpochSampler
from calotype.data.splits import folder_sets, identity_split, manifest, official_sets, stratified_split
from calotype.ranges import Below1, Count, Positive, Seed, Workers
from calotype.types import DataSpec, ImagePairBatch, Source, UserError


class ImagePairs(LightningDataModule):
    """Draws batches of (inputs, targets).

    Args:
        dataset: a source.
        preprocess: for every image, once.
        pair: called with images and item numbers; see `data.pairing`.
        augment: for training images, before they are paired, anew in every batch.
        unpaired: in training, inputs come from one half of the images and targets from the other, so that none has its partner; in
            evaluation they are pairs, to measure.
        split: stratified by class, or identity: no person stands on two sides.
        batch_size, eval_batch_size, val_fraction, test_fraction, split_seed, seed, num_workers, ram_budget_mb: as in `Unlabelled`.
    """

    batch = ImagePairBatch

    def __init__(
        self,
        *,
        dataset: Source,
        preprocess: Preprocess,
        pair: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        augment: Augment | None = None,
        unpaired: bool = False,
        split: Literal["stratified", "identity"] = "stratified",
        batch_size: Positive = 32,
        eval_batch_size: Positive = 128,
        val_fraction: Below1 = 0.1,
        test_fraction: Below1 = 0.2,
        split_seed: Seed = 0,
        seed: Seed = 0,
        num_workers: Workers = 0,
        ram_budget_mb: Count = 4096,
    ) -> None:
        super().__init__()
        if batch_size < 1 or eval_batch_size < 1:
            raise UserError(f"data.batch_size={batch_size}, data.eval_batch_size={eval_batch_size}: at least 1")
        if dataset.labels is None and split == "identity":
            raise UserError(f"data.split=identity: {dataset.name} does not say who is in its images; use stratified")
        dataset = with_labels(dataset)
        labels = labels_of(dataset).tolist()
        if split == "identity":
            self.split = identity_split(
                labels, val=val_fraction, test=test_fraction, seed=split_seed, names=dataset.class_names, **folder_sets(dataset)
            )
        else:
            names = dataset.class_names
            self.split = stratified_split(
                labels, val=val_fraction, test=test_fraction, seed=split_seed, class_names=names, **official_sets(dataset)
            )
        self.split_manifest: dict[str, Any] = manifest(self.split, dataset, kind=split, seed=split_seed)
        self.dataset = dataset
        self.pair = pair
        self.augment = augment
        self.unpaired = unpaired
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.items = Items(dataset, preprocess, ram_budget=ram_budget_mb * 2**20)
        if len(self.items.shape) != 3:
            raise UserError(f"dataset {dataset.name}: points, and this task takes images")
        inputs, targets = pair(as_float(self.items.pixels(torch.tensor([0])), None, training=False), torch.tensor([0]))
        self.spec = DataSpec(tuple(targets.shape[1:]), (), (), dataset.channels, tuple(inputs.shape[1:]))  # type: ignore[arg-type]

    def setup(self, stage: str) -> None:
        self.items.load()

    def images(self, side: str, most: int | None = None, *, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Up to `most` whole images of a side (train, val or test) in [0, 1], and their labels, drawn where there are more."""
        return images_of(self.items, getattr(self.split, side), most, seed)

    def train_dataloader(self) -> DataLoader[ImagePairBatch]:
        return self._loader(self.split.train, train=True)

    def val_dataloader(self) -> DataLoader[ImagePairBatch] | list[Any]:
        return self._loader(self.split.val, train=False) if self.split.val else []

    def test_dataloader(self) -> DataLoader[ImagePairBatch] | list[Any]:
        return self._loader(self.split.test, train=False) if self.split.test else []

    def on_after_batch_transfer(self, batch: ImagePairBatch, dataloader_idx: int) -> ImagePairBatch:
        training = self.trainer is not None and self.trainer.training
        inputs, targets = self.pair(as_float(batch.inputs, self.augment, training=training), batch.indices)
        if training and self.unpaired:
            _, targets = self.pair(as_float(batch.targets, self.augment, training=training), batch.indices)
        return ImagePairBatch(inputs, targets, batch.indices)

    def _loader(self, indices: Sequence[int], *, train: bool) -> DataLoader[ImagePairBatch]:
        size = self.batch_size if train else self.eval_batch_size
        halves = [indices[::2], indices[1::2]] if train and self.unpaired else [indices]
        sampler = _Joined([EpochSampler(half, batch_size=size, train=train, seed=self.seed + i) for i, half in enumerate(halves)])
        return self.items.loader(sampler, num_workers=self.num_workers, as_batch=ImagePairBatch, dataset=_Both(self.items))


class _Both(Dataset[Any]):
    """By item numbers (1 or 2, B): the images of the first and of the last row, and the first row."""

    def __init__(self, items: Items) -> None:
        self.items = items

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = self.items.pixels(index[0])
        return first, self.items.pixels(index[1]) if len(index) > 1 else first, index[0]

    def __len__(self) -> int:
        return len(self.items)


class _Joined(Sampler[Tensor]):
    """Batches of several samplers at once, (samplers, B), for as long as each has a whole one."""

    def __init__(self, samplers: Sequence[EpochSampler]) -> None:
        self.samplers = samplers

    def set_epoch(self, epoch: int) -> None:
        for sampler in self.samplers:
            sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return min(map(len, self.samplers))

    def __iter__(self) -> Iterator[Tensor]:
        for rows in zip(*self.samplers, strict=False):
            least = min(map(len, rows))
            yield torch.stack([row[:least] for row in rows])

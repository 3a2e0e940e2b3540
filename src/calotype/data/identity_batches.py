"""Batches of P identities x K images, and sides that share no identity: what an embedding is trained and judged on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from calotype.console import echo
from calotype.data.augment import Augment
from calotype.data.identity_sampler import IdentitySampler
from calotype.data.items import Items, as_float, labels_of, select, thin_out
from calotype.data.preprocess import Preprocess
from calotype.data.sampler import EpochSampler, processes
from calotype.data.splits import folder_sets, identity_split, manifest
from calotype.ranges import AtLeastTwo, Below1, Count, Positive, Seed, Workers
from calotype.types import DataSpec, IdentityBatch, Source, UserError


class IdentityBatches(LightningDataModule):
    """Draws batches of K images of each of P identities; validation and test images come once each.

    Args:
        dataset: a source with labels.
        preprocess: for every image, once.
        augment: for training images, anew in every batch.
        identities_per_batch: P, of one process.
        images_per_identity: K, at least 2.
        batches_per_epoch: by default as many as hold each training image once on average.
        eval_batch_size: images in a validation or test batch of one process.
        val_fraction, test_fraction: shares of the identities, 0 to 1.
        split: `identity`; or `folder`, where class names are `alphabet/character`: no alphabet stands on two sides.
        split_seed: of the split and of what `max_images` leaves.
        seed: of the batches.
        classes: names of the identities to use, all by default.
        largest_classes: use those with most images, so many of them.
        max_images: of an identity; more are left out by a draw.
        turned_identities: in training, every identity turned by 90, 180 and 270 degrees is three further identities (Vinyals et
            al., 2016; Santoro et al., 2016, for characters). Square images only.
        num_workers: processes that decode images which do not fit `ram_budget_mb`.
        ram_budget_mb: data up to this size is decoded once and kept.

    An identity with one image has no positive: it is left out of training, which is said.
    """

    batch = IdentityBatch

    def __init__(
        self,
        *,
        dataset: Source,
        preprocess: Preprocess,
        augment: Augment | None = None,
        identities_per_batch: Positive = 8,
        images_per_identity: Positive = 4,
        batches_per_epoch: Positive | None = None,
        eval_batch_size: Positive = 256,
        val_fraction: Below1 = 0.1,
        test_fraction: Below1 = 0.3,
        split: Literal["identity", "folder"] = "identity",
        split_seed: Seed = 0,
        seed: Seed = 0,
        classes: Annotated[Sequence[str | int], AtLeastTwo] | None = None,
        largest_classes: Positive | None = None,
        max_images: Positive | None = None,
        turned_identities: bool = False,
        num_workers: Workers = 0,
        ram_budget_mb: Count = 4096,
    ) -> None:
        super().__init__()
        if identities_per_batch < 2 or images_per_identity < 2:
            raise UserError(
                f"data.identities_per_batch={identities_per_batch}, data.images_per_identity={images_per_identity}: at least 2 of each, "
                "for a negative and a positive"
            )
        self.augment = augment
        self.preprocess = preprocess
        self.identities_per_batch, self.images_per_identity = identities_per_batch, images_per_identity
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.dataset = thin_out(select(dataset, classes, largest_classes), max_images, split_seed)
        labels = labels_of(self.dataset)
        self.split = identity_split(
            labels.tolist(),
            val=val_fraction,
            test=test_fraction,
            seed=split_seed,
            names=self.dataset.class_names,
            by_folder=split == "folder",
            **folder_sets(self.dataset),
        )
        of_val = torch.bincount(labels[list(self.split.val)])
        if self.split.val and (int((of_val > 0).sum()) < 2 or int(of_val.max()) < 2):
            raise UserError(
                f"data.val_fraction={val_fraction}: {int((of_val > 0).sum())} identities with {len(self.split.val)} images "
                "give no validation pair of each kind; enlarge it"
            )
        self.split_manifest: dict[str, Any] = manifest(self.split, self.dataset, kind=split, seed=split_seed)
        self.items = Items(self.dataset, preprocess, ram_budget=ram_budget_mb * 2**20)
        train = torch.tensor(self.split.train)
        counts = torch.bincount(labels[train], minlength=len(self.dataset.class_names))
        lone = int((counts == 1).sum())
        if lone:
            echo(
                f"{lone} of {int((counts > 0).sum())} training identities have one image: they are left out, since none is a positive to it"
            )
            counts[counts == 1] = 0
        self.train_items = train[counts[labels[train]] > 0]
        there = int((counts > 0).sum())
        if there < 2:
            raise UserError(
                f"dataset {dataset.name}: {there} training identities with two images or more, and it takes two; see data.val_fraction"
            )
        self.batches_per_epoch = batches_per_epoch
        self.turned_identities = turned_identities
        names, per_identity = self.dataset.class_names, counts.tolist()
        if turned_identities:
            if len(self.items.shape) != 3 or self.items.shape[1] != self.items.shape[2]:
                raise UserError(f"data.turned_identities=true: images of {self.items.shape[1:]} are not square; set data.preprocess.size")
            names = names + tuple(f"{name} turned by {90 * k}" for k in (1, 2, 3) for name in names)
            per_identity = per_identity * 4
        self.spec = DataSpec(self.items.shape, names, tuple(per_identity), self.dataset.channels)

    def setup(self, stage: str) -> None:
        self.items.load()

    def image(self, index: int) -> Tensor:
        """The preprocessed image of an item, uint8 (C, H, W)."""
        return self.items.pixels(torch.tensor([index]))[0]

    def train_dataloader(self) -> DataLoader[IdentityBatch]:
        labels = labels_of(self.dataset)[self.train_items]
        people, world = len(labels.unique()), processes()[1]
        if people < self.identities_per_batch * world:
            raise UserError(
                f"data.identities_per_batch={self.identities_per_batch}{f' on each of {world} processes' if world > 1 else ''}: "
                f"there are {people} training identities; set it to {people // world} or less"
            )
        size = self.identities_per_batch * self.images_per_identity
        sampler = IdentitySampler(
            self.train_items,
            labels,
            identities=self.identities_per_batch,
            images=self.images_per_identity,
            num_batches=self.batches_per_epoch or max(1, len(labels) // (size * world)),
            seed=self.seed,
        )
        return self.items.loader(sampler, num_workers=self.num_workers, as_batch=IdentityBatch)

    def val_dataloader(self) -> DataLoader[IdentityBatch] | list[Any]:
        return self._each_once(self.split.val)

    def test_dataloader(self) -> DataLoader[IdentityBatch] | list[Any]:
        return self._each_once(self.split.test)

    def predict_dataloader(self) -> DataLoader[IdentityBatch] | list[Any]:
        """Every training image once, for a model that is fitted and not trained by steps."""
        return self._each_once(self.train_items)

    def on_after_batch_transfer(self, batch: IdentityBatch, dataloader_idx: int) -> IdentityBatch:
        training = self.trainer is not None and self.trainer.training
        if training and self.turned_identities:
            batch = self._turn(batch)
        return batch._replace(images=as_float(batch.images, self.augment, training=training))

    def _turn(self, batch: IdentityBatch) -> IdentityBatch:
        """Each identity of the batch, K images in a row, by a quarter turn drawn for it; its label says by which."""
        turns = torch.randint(4, (len(batch.labels) // self.images_per_identity,), device=batch.labels.device)
        turns = turns.repeat_interleave(self.images_per_identity)
        images = batch.images.clone()
        for k in (1, 2, 3):
            images[turns == k] = batch.images[turns == k].rot90(k, (-2, -1))
        return batch._replace(images=images, labels=batch.labels + turns * len(self.dataset.class_names))

    def _each_once(self, items: Sequence[int] | Tensor) -> DataLoader[IdentityBatch] | list[Any]:
        if not len(items):
            return []
        sampler = EpochSampler(items, batch_size=self.eval_batch_size, train=False)
        return self.items.loader(sampler, num_workers=self.num_workers, as_batch=IdentityBatch)

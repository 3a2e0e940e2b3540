"""Pairs of images, of one identity or of two: what a siamese network is trained and judged on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from calotype.console import echo
from calotype.data.augment import Augment
from calotype.data.items import Items, as_float, labels_of, select, thin_out
from calotype.data.pair_draws import PairSampler, PooledPairSampler, draw_pairs, read_pairs
from calotype.data.preprocess import Preprocess
from calotype.data.sampler import EpochSampler
from calotype.data.splits import Split, check_disjoint, folder_sets, identity_split, manifest, official_sets, stratified_split
from calotype.ranges import AtLeastTwo, Below1, Count, Positive, Seed, Workers
from calotype.types import DataSpec, IdentityBatch, PairBatch, Source, UserError


class Pairs(LightningDataModule):
    """Draws batches of pairs, as many of one identity as of two. Validation and test pairs are fixed, and lie in split.json.

    The validation and test loaders give each image once, so that it is encoded once; `eval_pairs` says who meets whom.

    Args:
        dataset: a source with labels.
        preprocess: for every image, once.
        augment: for training images, anew in every batch.
        batch_size: pairs in a training batch of one process.
        eval_batch_size: images in a validation or test batch of one process.
        train_pairs, val_pairs, test_pairs: how many; fewer where there are not so many.
        redraw: other training pairs in every epoch.
        identities_per_batch, images_per_identity: draw a training batch's pairs among so many images, so that each image, which
            is encoded once, stands in several pairs; by default pairs are drawn from all images.
        val_fraction, test_fraction: shares of the identities (of each class's images, by `image`), 0 to 1.
        split: `identity`: no identity on two sides; `image`: no image (for classes that are always the same, as digits);
            `folder`: no alphabet, where class names are `alphabet/character`.
        pairs_file: test pairs in the format of LFW's pairs.txt; nobody in it stands on another side.
        fold: 1 to the file's number of folds: test on this fold's pairs alone, and train on people of the others.
        split_seed: of the split, of what `max_images` leaves, and of validation and test pairs.
        seed: of the training pairs and their order.
        classes, largest_classes: which identities to use: by name, or those with most images.
        max_images: of an identity; more are left out by a draw.
        num_workers: processes that decode images which do not fit `ram_budget_mb`.
        ram_budget_mb: data up to this size is decoded once and kept.
    """

    batch = PairBatch

    def __init__(
        self,
        *,
        dataset: Source,
        preprocess: Preprocess,
        augment: Augment | None = None,
        batch_size: Positive = 64,
        eval_batch_size: Positive = 256,
        train_pairs: Positive = 10_000,
        val_pairs: Positive = 2_000,
        test_pairs: Positive = 5_000,
        redraw: bool = True,
        identities_per_batch: Positive | None = None,
        images_per_identity: Positive = 4,
        val_fraction: Below1 = 0.1,
        test_fraction: Below1 = 0.3,
        split: Literal["identity", "image", "folder"] = "identity",
        pairs_file: str | None = None,
        fold: Count | None = None,
        split_seed: Seed = 0,
        seed: Seed = 0,
        classes: Annotated[Sequence[str | int], AtLeastTwo] | None = None,
        largest_classes: Positive | None = None,
        max_images: Positive | None = None,
        num_workers: Workers = 0,
        ram_budget_mb: Count = 4096,
    ) -> None:
        super().__init__()
        for name, value in (("batch_size", batch_size), ("train_pairs", train_pairs), ("val_pairs", val_pairs), ("test_pairs", test_pairs)):
            if value < (1 if name == "batch_size" else 2):
                raise UserError(f"data.{name}={value}: at least {1 if name == 'batch_size' else 2}")
        self.augment = augment
        self.preprocess = preprocess
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.seed = seed
        self.train_pairs, self.redraw = train_pairs, redraw
        if identities_per_batch is not None and (identities_per_batch < 2 or images_per_identity < 2):
            raise UserError(
                f"data.identities_per_batch={identities_per_batch}, data.images_per_identity={images_per_identity}: at least 2 of each"
            )
        self.identities_per_batch, self.images_per_identity = identities_per_batch, images_per_identity
        self.num_workers = num_workers
        self.folds: Tensor | None = None
        source = select(dataset, classes, largest_classes)
        listed = None
        if pairs_file is not None:
            listed, folds = read_pairs(pairs_file, source)
            if fold is not None:
                if not 1 <= fold <= int(folds.max()) + 1:
                    raise UserError(f"data.fold={fold}: {pairs_file} has folds 1 to {int(folds.max()) + 1}")
                listed = listed[folds == fold - 1]
            elif int(folds.max()) > 0:
                self.folds = folds
        elif fold is not None:
            raise UserError(f"data.fold={fold}: it takes data.pairs_file=FILE")
        else:
            source = thin_out(source, max_images, split_seed)
        self.dataset = source
        labels = labels_of(source)
        self.split = self._split(split, val_fraction, test_fraction, split_seed, listed)
        self.shares_identities = split == "image" and listed is None
        sides = {"val": self._pairs_of("val", val_pairs, split_seed), "test": self._pairs_of("test", test_pairs, split_seed)}
        if self.split.val and not len(sides["val"]):
            people = len(labels[list(self.split.val)].unique())
            raise UserError(
                f"data.val_fraction={val_fraction}: {people} identities with {len(self.split.val)} images give no "
                "validation pair of each kind; enlarge it, or set data.split=image where all sides share the classes"
            )
        if listed is not None:
            sides["test"] = listed
        self.eval_pairs: dict[str, Tensor] = sides  # rows (first, second, same) of item numbers
        self.split_manifest = self._manifest(split, split_seed)
        self.items = Items(source, preprocess, ram_budget=ram_budget_mb * 2**20)
        counts = torch.bincount(labels[list(self.split.train)], minlength=len(source.class_names))
        if int((counts > 1).sum()) < 1 or int((counts > 0).sum()) < 2:
            raise UserError(f"dataset {dataset.name}: too few training images for a pair of each kind; see data.val_fraction")
        lone = int((counts == 1).sum())
        if lone:
            echo(f"{lone} of {int((counts > 0).sum())} training identities have one image: they appear in pairs of two identities only")
        self.spec = DataSpec(self.items.shape, source.class_names, tuple(counts.tolist()), source.channels)

    def setup(self, stage: str) -> None:
        self.items.load()

    def image(self, index: int) -> Tensor:
        """The preprocessed image of an item, uint8 (C, H, W)."""
        return self.items.pixels(torch.tensor([index]))[0]

    def train_dataloader(self) -> DataLoader[PairBatch]:
        items = torch.tensor(self.split.train)
        labels = labels_of(self.dataset)[items]
        sampler: Sampler[Tensor]
        if self.identities_per_batch is None:
            sampler = PairSampler(items, labels, num_pairs=self.train_pairs, batch_size=self.batch_size, seed=self.seed, redraw=self.redraw)
        else:
            paired = labels.bincount()[labels] > 1  # of one image there is no pair of one identity
            sampler = PooledPairSampler(
                items[paired],
                labels[paired],
                identities=self.identities_per_batch,
                images=self.images_per_identity,
                num_pairs=self.train_pairs,
                batch_size=self.batch_size,
                seed=self.seed,
            )
        return self.items.loader(sampler, num_workers=self.num_workers, as_batch=PairBatch, dataset=_PairItems(self.items))

    def val_dataloader(self) -> DataLoader[IdentityBatch] | list[Any]:
        return self._each_once(self.split.val)

    def test_dataloader(self) -> DataLoader[IdentityBatch] | list[Any]:
        return self._each_once(self.split.test)

    def predict_dataloader(self) -> DataLoader[IdentityBatch] | list[Any]:
        """Every training image once, for a model that is fitted and not trained by steps."""
        return self._each_once(self.split.train)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        training = self.trainer is not None and self.trainer.training
        return batch._replace(images=as_float(batch.images, self.augment, training=training))

    def _split(self, kind: str, val: float, test: float, seed: int, listed: Tensor | None) -> Split:
        labels, names = labels_of(self.dataset), self.dataset.class_names
        if listed is not None:
            tested = labels[listed[:, :2].flatten()].unique()
            rest = (~torch.isin(labels, tested)).nonzero()[:, 0]
            if len(labels[rest].unique()) < 2:
                raise UserError("data.pairs_file: nobody is left to train on; add people who are not in it, or choose data.fold=1")
            inner = identity_split(labels[rest].tolist(), val=val, test=0, seed=seed)
            test_items = listed[:, :2].flatten().unique()
            split = Split(
                train=tuple(rest[list(inner.train)].tolist()), val=tuple(rest[list(inner.val)].tolist()), test=tuple(test_items.tolist())
            )
            check_disjoint(split, labels)
            return split
        if kind == "image":
            return stratified_split(labels.tolist(), val=val, test=test, seed=seed, class_names=names, **official_sets(self.dataset))
        of_folders = folder_sets(self.dataset)
        return identity_split(labels.tolist(), val=val, test=test, seed=seed, names=names, by_folder=kind == "folder", **of_folders)

    def _pairs_of(self, side: str, wanted: int, seed: int) -> Tensor:
        items = torch.tensor(getattr(self.split, side), dtype=torch.long)
        if not len(items):
            return torch.zeros(0, 3, dtype=torch.long)
        # A stream of its own for each side, and none of an epoch's.
        pairs = draw_pairs(labels_of(self.dataset)[items], wanted, seed * 1_000_003 + (2**40 if side == "val" else 2**41))
        return torch.cat([items[pairs[:, :2]], pairs[:, 2:]], 1)

    def _manifest(self, kind: str, seed: int) -> dict[str, Any]:
        told = manifest(self.split, self.dataset, kind=kind, seed=seed)
        name = self.dataset.item_name
        told["pairs"] = {side: [[name(a), name(b), same] for a, b, same in rows.tolist()] for side, rows in self.eval_pairs.items()}
        told["hash"] = hashlib.sha256((told["hash"] + json.dumps(told["pairs"], sort_keys=True)).encode()).hexdigest()
        told["num_pairs"] = {side: len(rows) for side, rows in self.eval_pairs.items()}
        return told

    def _each_once(self, items: Sequence[int]) -> DataLoader[IdentityBatch] | list[Any]:
        if not items:
            return []
        sampler = EpochSampler(items, batch_size=self.eval_batch_size, train=False)
        return self.items.loader(sampler, num_workers=self.num_workers, as_batch=IdentityBatch)


class _PairItems(Dataset[Any]):
    """Images of the rows that a sampler yields, and the rows by place among them."""

    def __init__(self, items: Items) -> None:
        self.items = items

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        distinct, places = rows[:, :2].unique(return_inverse=True)
        return self.items.pixels(distinct), places[:, 0], places[:, 1], rows[:, 2].bool()

"""Images with their class: what a classifier is trained on, from any source that has labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from calotype.data.augment import Augment
from calotype.data.preprocess import Preprocess
from calotype.data.sampler import EpochSampler
from calotype.data.splits import manifest, stratified_split
from calotype.datasets.image_file import read_image
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
        batch_size: int = 64,
        eval_batch_size: int = 256,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        seed: int = 0,
        classes: Sequence[str] | None = None,
        largest_classes: int | None = None,
        positive: str | int | None = None,
        balanced: bool = False,
        num_workers: int = 0,
        ram_budget_mb: int = 4096,
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
        dataset = _select(dataset, classes, largest_classes)
        split = stratified_split(
            _labels(dataset).tolist(),
            val=val_fraction,
            test=test_fraction,
            seed=split_seed,
            class_names=dataset.class_names,
            official_test=None if dataset.test is None else dataset.test.tolist(),
        )
        self.split = split
        self.split_manifest: dict[str, Any] = manifest(split, dataset, kind="stratified", seed=split_seed)
        # The split is drawn before one class is set against the rest: the same images test both questions.
        self.dataset = dataset if positive is None else _one_against_rest(dataset, positive)
        self.items = _Items(self.dataset, preprocess, ram_budget=ram_budget_mb * 2**20)
        labels = _labels(self.dataset)[list(split.train)]
        counts = torch.bincount(labels, minlength=len(self.dataset.class_names))
        self.weights = (1 / counts.double())[labels] if balanced else None
        self.spec = DataSpec(self.items.shape, self.dataset.class_names, tuple(counts.tolist()), self.dataset.channels)

    def setup(self, stage: str) -> None:
        self.items.load()

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
        images = batch.images
        if images.dtype == torch.uint8:
            images = images.float().div_(255)
        if self.augment is not None and self.trainer is not None and self.trainer.training and images.ndim == 4:
            images = self.augment(images)
        return batch._replace(images=images)

    def _loader(self, indices: Sequence[int], *, train: bool) -> DataLoader[LabelledBatch]:
        sampler = EpochSampler(
            indices,
            batch_size=self.batch_size if train else self.eval_batch_size,
            train=train,
            seed=self.seed,
            weights=self.weights if train else None,
        )
        # Whole batches from one call. A generator of its own: making an iterator must not move the global stream,
        # or a resumed run would draw otherwise than one that was not stopped.
        return DataLoader(
            self.items,
            sampler=sampler,
            batch_size=None,
            num_workers=0 if self.items.loaded else self.num_workers,
            generator=torch.Generator().manual_seed(0),
            pin_memory=torch.cuda.is_available(),
        )


class _Items(Dataset[LabelledBatch]):
    """Preprocessed items by number: from memory where they fit the budget, else decoded when asked for."""

    def __init__(self, source: Source, preprocess: Preprocess, *, ram_budget: int) -> None:
        self.source = source
        self.labels = _labels(source)
        self.preprocess = preprocess
        self.kept: Tensor | None = None
        first = self._make(0)
        if not isinstance(source.items, Tensor) and preprocess.size is None:
            # Files may differ in size, which would show only in the middle of training.
            self._check_sizes(first)
        self.shape: Any = tuple(first.shape)
        self.fits = first.numel() * first.element_size() * len(source) <= ram_budget

    @property
    def loaded(self) -> bool:
        return self.kept is not None

    def load(self) -> None:
        if self.kept is not None or not self.fits:
            return
        if not isinstance(self.source.items, Tensor):
            with ThreadPoolExecutor() as pool:  # Pillow decodes without Python's lock
                self.kept = torch.stack(list(pool.map(self._make, range(len(self.source)))))
        elif self.source.items.dtype == torch.uint8:
            self.kept = torch.cat([self.preprocess(chunk) for chunk in self.source.items.split(1024)])
        else:
            self.kept = self.source.items

    def pixels(self, index: Tensor) -> Tensor:
        if self.kept is not None:
            return self.kept[index]
        return torch.stack([self._make(i) for i in index.tolist()])

    def __getitem__(self, index: Tensor) -> LabelledBatch:
        return LabelledBatch(self.pixels(index), self.labels[index], index)

    def __len__(self) -> int:
        return len(self.source)

    def _make(self, i: int) -> Tensor:
        if not isinstance(self.source.items, Tensor):
            return self.preprocess(read_image(self.source.items[i], self.source.channels))
        item = self.source.items[i]
        return self.preprocess(item) if item.dtype == torch.uint8 else item

    def _check_sizes(self, first: Tensor) -> None:
        if self.preprocess.crop is not None:
            return
        from PIL import Image

        paths = self.source.items
        assert not isinstance(paths, Tensor)
        want = None
        for path in paths:
            try:
                with Image.open(path) as image:
                    size = image.size
            except OSError:
                continue  # read_image tells it better
            want = want or size
            if size != want:
                raise UserError(
                    f"the images differ in size ({paths[0]} is {want[0]}x{want[1]}, {path} is {size[0]}x{size[1]}): "
                    "set data.preprocess.size=[height,width]"
                )


def _labels(source: Source) -> Tensor:
    assert source.labels is not None
    return source.labels


def _select(source: Source, classes: Sequence[str] | None, largest: int | None) -> Source:
    """The source with fewer classes, items renumbered; refuses what no classifier can be trained on."""
    if source.labels is None:
        raise UserError(f"dataset {source.name} has no labels (no class folders), and data=labelled needs them")
    names = source.class_names
    keep = list(range(len(names)))
    if classes is not None:
        unknown = [str(name) for name in classes if str(name) not in names]
        if unknown:
            raise UserError(f"data.classes: {source.name} has no class {unknown[0]!r}; it has {_some(names)}")
        keep = sorted({names.index(str(name)) for name in classes})
    if largest is not None:
        if not 2 <= largest <= len(keep):
            raise UserError(f"data.largest_classes={largest}: {source.name} has {len(keep)} classes, take 2 to {len(keep)}")
        counts = torch.bincount(source.labels, minlength=len(names)).tolist()
        keep = sorted(sorted(keep, key=lambda i: (-counts[i], names[i]))[:largest])
    if len(keep) < 2:
        raise UserError(f"dataset {source.name} has {len(keep)} class, and telling apart takes two; add a class folder")
    if len(keep) == len(names):
        return source
    chosen = torch.isin(source.labels, torch.tensor(keep)).nonzero()[:, 0]
    renumber = torch.full((len(names),), -1)
    renumber[keep] = torch.arange(len(keep))
    items = source.items[chosen] if isinstance(source.items, Tensor) else [source.items[i] for i in chosen.tolist()]
    return dataclasses.replace(
        source,
        items=items,
        labels=renumber[source.labels[chosen]],
        class_names=tuple(names[i] for i in keep),
        test=None if source.test is None else source.test[chosen],
    )


def _one_against_rest(source: Source, positive: str | int) -> Source:
    if str(positive) not in source.class_names:
        raise UserError(f"data.positive={positive}: {source.name} has no such class; it has {_some(source.class_names)}")
    labels = (_labels(source) == source.class_names.index(str(positive))).long()
    return dataclasses.replace(source, labels=labels, class_names=("rest", str(positive)))


def _some(names: Sequence[str], most: int = 30) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

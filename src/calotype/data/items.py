"""What the DataModules share: which classes of a source are used, and its preprocessed images, in memory or read when asked for."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from calotype.data.preprocess import Preprocess
from calotype.data.splits import items_by_class, permuted
from calotype.datasets.image_file import read_image
from calotype.images import max_megapixels, set_max_megapixels, upright_size
from calotype.types import LabelledBatch, Source, UserError

CHUNK_BYTES = 2**22  # of images that are preprocessed together
NAMED = 2  # files that cannot be read, beside the first
FILES_AT_ONCE = 64  # that a thread decodes one after the other


class UnreadableError(UserError):
    """A file that cannot be decoded; there may be others."""


class Items(Dataset[Any]):
    """Preprocessed items by number: from memory where they fit the budget, else decoded when asked for."""

    def __init__(self, source: Source, preprocess: Preprocess, *, ram_budget: int) -> None:
        self.source = source
        self.labels = labels_of(source)
        self.preprocess = preprocess
        self.kept: Tensor | None = None
        first = self._first()
        if not isinstance(source.items, Tensor) and preprocess.size is None:
            # Files may differ in size, which would show only in the middle of training.
            self._check_sizes(first)
        self.shape: Any = tuple(first.shape)
        self.fits = first.numel() * first.element_size() * len(source) <= ram_budget

    @property
    def loaded(self) -> bool:
        return self.kept is not None

    def load(self) -> None:
        """Make all items once, where they fit: in place, so that the peak is what is kept and a little."""
        if self.kept is not None or not self.fits:
            return
        items = self.source.items
        if isinstance(items, Tensor) and self._leaves(items):
            self.kept = items
            return

        kept = torch.empty(len(self.source), *self.shape, dtype=torch.uint8)
        if isinstance(items, Tensor):
            self._fill_from_tensor(kept, items)
        else:
            self._fill_from_files(kept)
        self.kept = kept

    def _first(self) -> Tensor:
        """Return the first item. Raises UserError where it cannot be read, which names the other such files as well."""
        try:
            return self._make(0)
        except UnreadableError as error:
            faults = {0: str(error)}
            for i in range(1, len(self.source)):
                try:
                    self._make(i)
                except UnreadableError as other:
                    faults[i] = str(other)
            raise UserError(self._told(faults)) from None

    def _leaves(self, items: Tensor) -> bool:
        """Whether the items are kept as the source has them: points, images at full depth, and those that nothing is done to."""
        if items.dtype != torch.uint8:
            return True
        same_memory = self.preprocess(items[:1]).data_ptr() == items.data_ptr()
        return same_memory and items.is_contiguous() and tuple(items.shape[1:]) == self.shape

    def _fill_from_tensor(self, kept: Tensor, items: Tensor) -> None:
        """A few images at once: what preprocessing makes on the way (floats, at times) is small beside the whole."""
        bytes_each = max(items[0].numel(), kept[0].numel())
        start = 0
        for chunk in items.split(min(1024, max(1, CHUNK_BYTES // bytes_each))):
            kept[start : start + len(chunk)] = self.preprocess(chunk)
            start += len(chunk)

    def _fill_from_files(self, kept: Tensor) -> None:
        """Threads that each write images to their places; one image is decoded in each at a time."""

        faults: dict[int, str] = {}

        def fill(numbers: range) -> None:
            for i in numbers:
                try:
                    kept[i] = self._alike(i)  # checked: an assignment would stretch one channel over three
                except UnreadableError as error:
                    faults[i] = str(error)

        parts = [range(start, min(start + FILES_AT_ONCE, len(kept))) for start in range(0, len(kept), FILES_AT_ONCE)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without Python's lock
            try:
                for _ in pool.map(fill, parts):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        if faults:
            raise UserError(self._told(faults))

    def _told(self, faults: Mapping[int, str]) -> str:
        """One line on the files, by number, that cannot be read: what is wrong with the first, and which others they are."""
        first, *others = sorted(faults)
        names = [Path(str(self.source.items[i])).name for i in others]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return faults[first] + (f"; nor can be read: {', '.join(names[:NAMED])}{more}" if names else "")

    def pixels(self, index: Tensor) -> Tensor:
        if self.kept is not None:
            return self.kept[index]
        return torch.stack([self._alike(i) for i in index.tolist()])

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.pixels(index), self.labels[index], index

    def __len__(self) -> int:
        return len(self.source)

    def loader(
        self,
        sampler: Sampler[Tensor],
        *,
        num_workers: int,
        as_batch: Callable[..., Any] = LabelledBatch,
        dataset: Dataset[Any] | None = None,
    ) -> DataLoader[Any]:
        """Batches `as_batch(...)` of what `dataset` (the items: images, labels, numbers) gives for what `sampler` yields."""
        # Whole batches from one call. A generator of its own: making an iterator must not move the global stream,
        # or a resumed run would draw otherwise than one that was not stopped.
        return DataLoader(
            self if dataset is None else dataset,
            sampler=sampler,
            batch_size=None,
            num_workers=0 if self.loaded else num_workers,
            generator=torch.Generator().manual_seed(0),
            pin_memory=torch.cuda.is_available(),
            collate_fn=_As(as_batch),
            worker_init_fn=_Limit(max_megapixels()) if num_workers and not self.loaded else None,
        )

    def _alike(self, i: int) -> Tensor:
        """Return an item of the first one's shape. Raises UserError where it has another."""
        made = self._make(i)
        if made.shape != self.shape:
            raise UserError(f"{self.source.items[i]}: {tuple(made.shape)}, and the first image gives {tuple(self.shape)}")
        return made

    def _make(self, i: int) -> Tensor:
        item = self.source.items[i]
        if not isinstance(item, Tensor):
            return self._make_from(item)
        return self.preprocess(item) if item.dtype == torch.uint8 else item

    def _make_from(self, path: Path) -> Tensor:
        try:
            image = read_image(path, self.source.channels)
        except UserError as error:
            raise UnreadableError(_with_path(error, path)) from None
        try:
            return self.preprocess(image)
        except UserError as error:
            raise UserError(_with_path(error, path)) from None

    def _check_sizes(self, first: Tensor) -> None:
        """Raise UserError where images that are not brought to one size differ in it, as a viewer shows them."""
        if self.preprocess.crop is not None:
            return
        paths = self.source.items
        assert not isinstance(paths, Tensor)
        want = None

        for path in paths:
            try:
                size = upright_size(path)
            except UserError:
                continue  # it is told when its turn comes, as that of the first image that cannot be read
            want = want or size
            if size != want and self._make_from(path).shape != first.shape:  # a header need not have the orientation
                raise UserError(
                    f"the images differ in size ({paths[0]} is {want[0]}x{want[1]}, {path} is {size[0]}x{size[1]}): "
                    "set data.preprocess.size=[height,width]"
                )


class _Limit:
    """Lets a worker process read files of this many million pixels: one that is not forked has the default."""

    def __init__(self, megapixels: float) -> None:
        self.megapixels = megapixels

    def __call__(self, worker: int) -> None:
        set_max_megapixels(self.megapixels)


class _As:
    """What a DataLoader makes of an item that is a batch already; a class, since a worker process is sent it."""

    def __init__(self, batch: Callable[..., Any]) -> None:
        self.batch = batch

    def __call__(self, parts: Sequence[Tensor]) -> Any:
        return self.batch(*parts)


def _with_path(error: UserError, path: Path) -> str:
    return str(error) if str(path) in str(error) else f"{path}: {error}"


def images_of(items: Items, numbers: Sequence[int], most: int | None, seed: int) -> tuple[Tensor, Tensor]:
    """Up to `most` of these items in [0, 1] and their labels, drawn by the seed where there are more."""
    index = torch.tensor(numbers)
    if most is not None and len(index) > most:
        index = index[torch.randperm(len(index), generator=torch.Generator().manual_seed(seed))[:most]]
    pixels = torch.cat([items.pixels(part) for part in index.split(1024)])
    return as_float(pixels, None, training=False), items.labels[index]


def labels_of(source: Source) -> Tensor:
    assert source.labels is not None
    return source.labels


def select(source: Source, classes: Sequence[str | int] | None, largest: int | None, *, least: int = 2) -> Source:
    """The source with fewer classes, items renumbered; refuses fewer than `least`: two, for what is to tell them apart."""
    if source.labels is None:
        where = "its file holds none; see dataset.labels" if isinstance(source.items, Tensor) else "no class folders"
        raise UserError(f"dataset {source.name} has no labels ({where}), and they are needed here")
    names = source.class_names
    keep = list(range(len(names)))
    if classes is not None:
        numbers = {name: number for number, name in reversed(list(enumerate(names)))}  # of two of a name the first
        unknown = [str(name) for name in classes if str(name) not in numbers]
        if unknown:
            raise UserError(f"data.classes: {source.name} has no class {unknown[0]!r}; it has {some(names)}")
        keep = sorted({numbers[str(name)] for name in classes})
    if largest is not None:
        if not 2 <= largest <= len(keep):
            raise UserError(f"data.largest_classes={largest}: {source.name} has {len(keep)} classes, take 2 to {len(keep)}")
        counts = torch.bincount(source.labels, minlength=len(names)).tolist()
        keep = sorted(sorted(keep, key=lambda i: (-counts[i], names[i]))[:largest])
    if len(keep) < least and classes is not None:
        given = ",".join(str(name) for name in classes)
        raise UserError(f"data.classes=[{given}]: {len(keep)} class of {source.name}, and it takes {least} or more; name others, too")
    if len(keep) < least:
        what = "give data of more classes" if isinstance(source.items, Tensor) else "add a class folder"
        raise UserError(f"dataset {source.name} has {len(keep)} class, and telling apart takes two; {what}")
    if len(keep) == len(names):
        return source
    chosen = torch.isin(source.labels, torch.tensor(keep)).nonzero()[:, 0]
    renumber = torch.full((len(names),), -1)
    renumber[keep] = torch.arange(len(keep))
    source = _only(source, chosen)
    return dataclasses.replace(source, labels=renumber[labels_of(source)], class_names=tuple(names[i] for i in keep))


def with_labels(source: Source) -> Source:
    """The source, with one class for all where it has none."""
    if source.labels is not None:
        return source
    return dataclasses.replace(source, labels=torch.zeros(len(source), dtype=torch.int64), class_names=(source.name,))


def thin_out(source: Source, max_images: int | None, seed: int) -> Source:
    """At most `max_images` of each class, drawn."""
    if max_images is None:
        return source
    if max_images < 2:
        raise UserError(f"data.max_images={max_images}: at least 2")
    random = np.random.RandomState()
    chosen = [
        permuted(items, random, seed, label, 1)[:max_images]
        for label, items in enumerate(items_by_class(labels_of(source), len(source.class_names)))
    ]
    return _only(source, torch.from_numpy(np.concatenate(chosen)).sort().values)


def _only(source: Source, chosen: Tensor) -> Source:
    return dataclasses.replace(
        source,
        items=source.items[chosen] if isinstance(source.items, Tensor) else [source.items[i] for i in chosen.tolist()],
        labels=labels_of(source)[chosen],
        test=None if source.test is None else source.test[chosen],
        val=None if source.val is None else source.val[chosen],
    )


def some(names: Sequence[str], most: int = 30) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def as_float(images: Tensor, augment: Any, *, training: bool) -> Tensor:
    """float32 in [0, 1], augmented in training; points of a vector space as they are."""
    if images.dtype == torch.uint8:
        images = images.float().div_(255)
    return augment(images) if augment is not None and training and images.ndim == 4 else images

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from calotype.data.augment import Augment
from calotype.data.labelled import Labelled
from calotype.data.preprocess import Preprocess
from calotype.datasets.characters import digits
from calotype.datasets.gaussians_2d import gaussians_2d
from calotype.datasets.image_folder import image_folder
from calotype.types import LabelledBatch, Source, UserError


def make(source: Source, **options) -> Labelled:  # type: ignore[no-untyped-def]
    data = Labelled(dataset=source, preprocess=options.pop("preprocess", Preprocess()), **options)
    data.setup("fit")
    return data


def first(data: Labelled) -> LabelledBatch:
    return data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)


def test_batches_hold_the_items_they_name() -> None:
    source = digits()
    data = make(source, batch_size=32)
    batch = first(data)
    assert batch.images.shape == (32, 1, 8, 8)
    assert isinstance(source.items, torch.Tensor)
    assert source.labels is not None
    assert torch.equal(batch.images, source.items[batch.indices].float() / 255)
    assert torch.equal(batch.labels, source.labels[batch.indices])
    assert set(batch.indices.tolist()) <= set(data.split.train)
    tested = torch.cat([b.indices for b in data.test_dataloader()])  # type: ignore[union-attr]
    assert tested.tolist() == list(data.split.test)


def test_lazy_decoding_gives_the_same(image_root: Path) -> None:
    source = image_folder(str(image_root))
    kept, lazy = make(source, batch_size=8), make(source, batch_size=8, ram_budget_mb=0, num_workers=1)
    assert kept.items.loaded
    assert not lazy.items.loaded
    for a, b in zip(kept.train_dataloader(), lazy.train_dataloader(), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_augmentation_is_for_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make(digits(), augment=Augment(brightness=0.5))
    raw = next(iter(data.train_dataloader()))

    class Stage:
        training = True

    data.trainer = Stage()  # type: ignore[assignment]
    assert not torch.equal(data.on_after_batch_transfer(raw, 0).images, raw.images / 255)
    Stage.training = False
    assert torch.equal(data.on_after_batch_transfer(raw, 0).images, raw.images / 255)


def test_two_classes_and_the_largest() -> None:
    data = make(digits(), classes=[3, "8"])
    assert data.spec.class_names == ("3", "8")
    assert set(first(data).labels.tolist()) == {0, 1}
    assert data.spec.class_counts == (128, 122)
    assert make(digits(), largest_classes=2).spec.class_names == ("1", "3")


def test_one_against_the_rest_keeps_the_split() -> None:
    whole, one = make(digits()), make(digits(), positive="7")
    assert one.split == whole.split
    assert one.spec.class_names == ("rest", "7")
    assert one.spec.class_counts == (sum(whole.spec.class_counts) - whole.spec.class_counts[7], whole.spec.class_counts[7])


def test_balanced_epoch() -> None:
    data = make(digits(), positive="7", balanced=True, batch_size=1000)
    assert 400 < int(first(data).labels.sum()) < 600


def test_points() -> None:
    data = make(gaussians_2d(num_points=500))
    assert first(data).images.shape == (64, 2)
    assert data.spec.image_shape == (2,)


def test_no_validation_side() -> None:
    assert make(digits(), val_fraction=0).val_dataloader() == []


def test_refuses(image_root: Path) -> None:
    source = image_folder(str(image_root))
    cases = {
        "data.classes: digits has no class 'x'": lambda: make(digits(), classes=["x"]),
        "data.largest_classes=11": lambda: make(digits(), largest_classes=11),
        "data.positive=eleven": lambda: make(digits(), positive="eleven"),
        r"^data.classes=\[1\]: 1 class of digits, and it takes 2 or more": lambda: make(digits(), classes=["1"]),
        r"^data.classes=\[3,3\]: 1 class of digits": lambda: make(digits(), classes=[3, 3]),
        "has no labels": lambda: make(image_folder(str(image_root / "dark"))),
        "batch_size=0": lambda: make(source, batch_size=0),
    }
    for message, build in cases.items():
        with pytest.raises(UserError, match=message):
            build()
    Image.new("RGB", (9, 9)).save(image_root / "dark" / "odd.png")
    with pytest.raises(UserError, match=r"differ in size .*20x16.*odd.png is 9x9.*data.preprocess.size"):
        make(image_folder(str(image_root)))
    make(image_folder(str(image_root)), preprocess=Preprocess(size=8))

"""P x K batches: as many of each, none twice, sides without a shared identity or alphabet, processes that share a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from calotype.data.identity_batches import IdentityBatches
from calotype.data.identity_sampler import IdentitySampler
from calotype.data.preprocess import Preprocess
from calotype.datasets.image_folder import image_folder
from calotype.datasets.synthetic_faces import synthetic_faces
from calotype.types import Source, UserError


def make(source: Source, **options) -> IdentityBatches:  # type: ignore[no-untyped-def]
    data = IdentityBatches(dataset=source, preprocess=Preprocess(), **{"identities_per_batch": 3, "images_per_identity": 2, **options})
    data.setup("fit")
    return data


def test_batches_hold_k_of_each_of_p() -> None:
    source = synthetic_faces(num_identities=10, images_per_identity=4, size=16)
    data = make(source, val_fraction=0.2, test_fraction=0.3)
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == 20 // 6
    for batch in batches:
        counts = batch.labels.unique(return_counts=True)[1]
        assert counts.tolist() == [2, 2, 2]
        assert len(batch.indices.unique()) == 6
        assert set(batch.indices.tolist()) <= set(data.split.train)
        assert isinstance(source.items, torch.Tensor)
        assert torch.equal(batch.images, source.items[batch.indices])
    seen = torch.cat([b.indices for b in data.test_dataloader()])  # type: ignore[union-attr]
    assert seen.tolist() == list(data.split.test)
    fitted = torch.cat([b.indices for b in data.predict_dataloader()])  # type: ignore[union-attr]
    assert fitted.tolist() == list(data.split.train)
    assert data.spec.class_counts.count(0) == 5


def test_epochs_follow_the_seed() -> None:
    items, labels = torch.arange(40), torch.arange(40) // 4

    def draw(epoch: int, seed: int = 0) -> torch.Tensor:
        sampler = IdentitySampler(items, labels, identities=4, images=3, num_batches=5, seed=seed)
        sampler.set_epoch(epoch)
        return torch.stack(list(sampler))

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert not torch.equal(draw(0), draw(0, seed=1))
    assert not torch.equal(draw(1), draw(0, seed=1))


def test_too_few_images_are_repeated_evenly() -> None:
    items, labels = torch.arange(7), torch.tensor([0, 0, 1, 1, 1, 1, 1])
    for batch in IdentitySampler(items, labels, identities=2, images=5, num_batches=3):
        counts = torch.bincount(batch, minlength=7)
        assert sorted(counts[:2].tolist()) == [2, 3]
        assert counts[2:].tolist() == [1] * 5


def test_processes_share_the_batch_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    items, labels = torch.arange(40), torch.arange(40) // 4
    whole = list(IdentitySampler(items, labels, identities=4, images=2, num_batches=3, seed=5))
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr("calotype.data.identity_sampler.processes", lambda rank=rank: (rank, 2))
        parts.append(list(IdentitySampler(items, labels, identities=2, images=2, num_batches=3, seed=5)))
    for batch, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(batch, torch.cat([first, second]))


def test_no_alphabet_on_two_sides(tmp_path: Path) -> None:
    for alphabet in ("greek", "latin", "runes", "kana"):
        for character in ("a", "b"):
            (tmp_path / alphabet / character).mkdir(parents=True)
            for i in range(3):
                Image.fromarray(np.full((8, 8), 10 * i, dtype=np.uint8)).save(tmp_path / alphabet / character / f"{i}.png")
    data = make(image_folder(str(tmp_path)), split="folder", val_fraction=0.25, test_fraction=0.25, identities_per_batch=2)
    names = [{data.dataset.item_name(i).partition("/")[0] for i in getattr(data.split, side)} for side in ("train", "val", "test")]
    assert [len(side) for side in names] == [2, 1, 1]
    assert len(set.union(*names)) == 4
    with pytest.raises(UserError, match="1 folders of identities"):
        make(synthetic_faces(num_identities=4, images_per_identity=2, size=16), split="folder")


def test_thinned_out_by_a_draw_that_the_seed_fixes() -> None:
    source = synthetic_faces(num_identities=6, images_per_identity=8, size=16)
    data, again, other = (make(source, max_images=3, split_seed=seed, val_fraction=0) for seed in (0, 0, 1))
    assert torch.bincount(data.dataset.labels).tolist() == [3] * 6  # type: ignore[arg-type]
    assert torch.equal(data.dataset.items, again.dataset.items)  # type: ignore[arg-type]
    assert not torch.equal(data.dataset.items, other.dataset.items)  # type: ignore[arg-type]


def test_one_image_is_left_out_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    source = synthetic_faces(num_identities=6, images_per_identity=3, size=16)
    keep = torch.ones(18, dtype=torch.bool)
    keep[1:3] = False
    assert isinstance(source.items, torch.Tensor)
    assert source.labels is not None
    lone = Source(name="lone", items=source.items[keep], channels=3, labels=source.labels[keep], class_names=source.class_names)
    data = make(lone, val_fraction=0.0, test_fraction=0.0)
    assert "1 of 6 training identities have one image: they are left out" in capsys.readouterr().out
    assert all(0 not in batch.indices.tolist() for batch in data.train_dataloader())
    assert data.spec.class_counts == (0, 3, 3, 3, 3, 3)


def test_turned_identities_are_further_ones_in_training_only() -> None:
    source = synthetic_faces(num_identities=10, images_per_identity=4, size=16)
    data = make(source, val_fraction=0.2, test_fraction=0.3, turned_identities=True)
    assert isinstance(source.items, torch.Tensor)
    assert len(data.spec.class_names) == 40
    assert sum(count > 0 for count in data.spec.class_counts) == 20
    torch.manual_seed(0)
    seen = set()
    for batch in data.train_dataloader():
        turned = data._turn(batch)
        assert turned.labels.unique(return_counts=True)[1].tolist() == [2, 2, 2]
        for image, label, index in zip(turned.images, turned.labels, turned.indices, strict=True):
            turns, identity = int(label) // 10, int(label) % 10
            assert identity == int(source.labels[index])  # type: ignore[index]
            assert torch.equal(image, source.items[index].rot90(turns, (-2, -1)))
            seen.add(turns)
    assert len(seen) > 1
    for batch in data.test_dataloader():  # type: ignore[union-attr]
        plain = data.on_after_batch_transfer(batch, 0)
        assert torch.equal(plain.images, source.items[batch.indices].float() / 255)
    wide = Source(name="wide", items=source.items[..., :12], channels=3, labels=source.labels, class_names=source.class_names)
    with pytest.raises(UserError, match="not square"):
        make(wide, turned_identities=True, val_fraction=0)


def test_wrong_options_are_told() -> None:
    source = synthetic_faces(num_identities=6, images_per_identity=3, size=16)
    with pytest.raises(UserError, match="at least 2 of each"):
        make(source, images_per_identity=1)
    with pytest.raises(UserError, match=r"data.identities_per_batch=9: there are 3 training identities; set it to 3 or less"):
        make(source, identities_per_batch=9, test_fraction=0.5, val_fraction=0).train_dataloader()
    with pytest.raises(UserError, match="0 training identities with two images"):
        make(synthetic_faces(num_identities=6, images_per_identity=1, size=16), val_fraction=0)

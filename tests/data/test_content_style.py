"""Contents and styles: sizes, masks, crops, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from calotype.data.content_batches import ContentBatches
from calotype.data.content_style import ContentStyle
from calotype.datasets.one_image import one_image
from calotype.datasets.scikit_images import whole_photos
from calotype.types import UserError


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_sizes(photo: Path) -> None:
    batch = ContentStyle(dataset=one_image(path=str(photo)), style=["brick", "tissue"], size=96, style_scale=0.5).image
    assert batch.content.shape == (1, 3, 64, 96)
    assert [tuple(x.shape) for x in batch.styles] == [(1, 3, 48, 48), (1, 3, 48, 48)]
    assert batch.weights.tolist() == [0.5, 0.5]
    square = ContentStyle(dataset=one_image(path=str(photo)), size=None, square=True).image
    assert torch.equal(square.content[0], torch.from_numpy(np.array(Image.open(photo))).permute(2, 0, 1)[:, :, 15:75].float() / 255)


def test_weights_are_shares(photo: Path) -> None:
    batch = ContentStyle(dataset=one_image(path=str(photo)), style=["brick", "grass"], style_weights=[3, 1], size=64).image
    assert batch.weights.tolist() == [0.75, 0.25]


def test_grey_becomes_colour_and_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (40, 40), 100).save(tmp_path / "grey.png")
    batch = ContentStyle(dataset=one_image(path=str(tmp_path / "grey.png")), size=40).image
    assert batch.content.shape == (1, 3, 40, 40)
    assert "grey: grey, taken as a colour image of equal channels" in capsys.readouterr().out


def test_masks_go_with_their_pictures(photo: Path, tmp_path: Path) -> None:
    half = np.zeros((60, 90), np.uint8)
    half[:, :45] = 255
    Image.fromarray(half).save(tmp_path / "left.png")
    Image.fromarray(255 - half).save(tmp_path / "right.png")
    data = {"dataset": one_image(path=str(photo)), "style": ["brick", "grass"], "size": 90}
    batch = ContentStyle(**data, content_masks=[str(tmp_path / "left.png"), str(tmp_path / "right.png")]).image
    assert batch.content_masks[0][0, 0, :, :45].min() == 1
    assert batch.content_masks[0][0, 0, :, 45:].max() == 0
    with pytest.raises(UserError, match=r"data.content_masks: 1 given, and there are 2 styles"):
        ContentStyle(**data, content_masks=[str(tmp_path / "left.png")])
    with pytest.raises(UserError, match=r"data.style_masks: .*left.png is 90x60 pixels, another shape than the picture's 90x90"):
        ContentStyle(**data, style_masks=[str(tmp_path / "left.png")] * 2)
    Image.new("L", (90, 60), 0).save(tmp_path / "black.png")
    with pytest.raises(UserError, match=r"black.png is black everywhere; white is what counts"):
        ContentStyle(**data, content_masks=[str(tmp_path / "black.png")] * 2)


def test_what_is_refused(photo: Path, tmp_path: Path) -> None:
    source = one_image(path=str(photo))
    with pytest.raises(UserError, match=r"data.style_weights=\[0\]: 0 and more, and not all 0"):
        ContentStyle(dataset=source, style_weights=[0])
    with pytest.raises(UserError, match=r"photo: 30x20 pixels, and 32 a side are the least"):
        ContentStyle(dataset=source, size=30)
    with pytest.raises(UserError, match=r"brick: 20x20 pixels at this data.style_scale"):
        ContentStyle(dataset=source, style="brick", size=100, style_scale=0.2)
    with pytest.raises(UserError, match=r"nothing.jpg: no such file"):
        ContentStyle(dataset=source, style=str(tmp_path / "nothing.jpg"))
    with pytest.raises(UserError, match=r"data.style: no picture"):
        ContentStyle(dataset=source, style=[])


def test_batches_are_crops_of_all_images_but_the_tests() -> None:
    data = ContentBatches(dataset=whole_photos(), size=40, batch_size=3, steps_per_epoch=4, style_size=48, test_size=64)
    batches = list(data.train_dataloader())
    assert len(batches) == 4
    assert batches[0].content.shape == (3, 3, 40, 40)
    assert batches[0].styles[0].shape == (1, 3, 48, 48)
    assert data.split_manifest["sizes"] == {"train": 3, "val": 0, "test": 1}
    assert data.split_manifest["test"] == ["rocket.jpg"]
    assert max(data.test.content.shape) == 64
    loader = data.train_dataloader()
    seen = [torch.cat(list(loader.sampler)).tolist()]
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
    seen.append(torch.cat(list(loader.sampler)).tolist())
    assert all(sorted(numbers) == sorted([0, 1, 2] * 4) for numbers in seen)
    assert seen[0] != seen[1]


def test_crops_are_of_the_seed() -> None:
    def first(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return next(iter(ContentBatches(dataset=whole_photos(), size=40, seed=seed, style_size=48).train_dataloader())).content

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_photos_and_a_folder(photo: Path, tmp_path: Path) -> None:
    assert [p.name for p in whole_photos(folder=str(tmp_path)).items] == [
        "astronaut.png",
        "chelsea.png",
        "coffee.png",
        "rocket.jpg",
        "photo.png",
    ]  # type: ignore[union-attr]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"dataset.folder=.*empty: no images in it"):
        whole_photos(folder=str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"data.test_index=-1: photo has 1 images; two are needed"):
        ContentBatches(dataset=one_image(path=str(photo)))

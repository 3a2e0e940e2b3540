from __future__ import annotations

import pytest
import torch

from calotype.data.preprocess import Preprocess, border_of, foreground
from calotype.types import UserError

IMAGE = torch.arange(3 * 6 * 8, dtype=torch.uint8).view(3, 6, 8)


def test_nothing_by_default() -> None:
    assert torch.equal(Preprocess()(IMAGE), IMAGE)


def test_crop_takes_the_centre() -> None:
    assert torch.equal(Preprocess(crop=4)(IMAGE), IMAGE[:, 1:5, 2:6])
    assert torch.equal(Preprocess(crop=[2, 4])(IMAGE), IMAGE[:, 2:4, 2:6])


def test_crop_before_size() -> None:
    image = torch.zeros(1, 8, 8, dtype=torch.uint8)
    image[:, 2:6, 2:6] = 200
    assert Preprocess(crop=4, size=[2, 3])(image).tolist() == [[[200, 200, 200], [200, 200, 200]]]


def test_colour() -> None:
    grey = Preprocess(colour="grey")(IMAGE)
    want = 0.2989 * IMAGE[0].float() + 0.587 * IMAGE[1].float() + 0.114 * IMAGE[2].float()
    assert (grey[0].float() - want).abs().max() <= 1
    assert torch.equal(Preprocess(colour="rgb")(grey), grey.expand(3, -1, -1))
    assert torch.equal(Preprocess(colour="grey")(grey), grey)


def test_turn_light_and_contrast() -> None:
    image = torch.tensor([[[0, 100], [200, 40]]], dtype=torch.uint8)
    assert torch.equal(Preprocess(rotate=90)(image), image.rot90(1, (1, 2)))
    assert Preprocess(brightness=0.5)(image).tolist() == [[[0, 50], [100, 20]]]
    assert Preprocess(contrast=0)(image).unique().tolist() == [85]


def test_a_batch_is_as_its_images() -> None:
    batch = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8)
    for background in ("keep", "ellipse", "border"):
        step = Preprocess(rotate=10, crop=16, size=12, brightness=1.2, contrast=0.8, background=background)  # type: ignore[arg-type]
        assert torch.equal(step(batch), torch.stack([step(image) for image in batch]))


def test_border_finds_the_object() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.full((3, 40, 40), 200.0) + 4 * torch.randn(3, 40, 40, generator=generator)
    image[:, 10:30, 12:28] = torch.tensor([60.0, 20.0, 150.0]).view(3, 1, 1)
    image[:, 18:22, 18:22] = 200  # a hole of the background's colour belongs to the object
    image[:, 34:36, 34:36] = 0  # a speck does not
    mask = foreground(image.clamp(0, 255).to(torch.uint8)).bool()
    want = torch.zeros(40, 40, dtype=torch.bool)
    want[10:30, 12:28] = True
    assert torch.equal(mask, want)
    assert foreground(torch.zeros(1, 8, 8, dtype=torch.uint8)).all()


def test_ellipse_keeps_the_middle() -> None:
    kept = Preprocess(background="ellipse")(torch.full((1, 20, 10), 9, dtype=torch.uint8))[0]
    assert kept[10, 5] == 9
    assert kept[0, 0] == 0
    assert torch.equal(kept, kept.flip(0).flip(1))


@pytest.mark.parametrize("options", [{"crop": 0}, {"size": [1, 2, 3]}, {"brightness": -1}, {"size": [0, 4]}])
def test_refuses(options: dict) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Preprocess(**options)


@pytest.mark.parametrize("crop", [9, [7, 8], [6, 9]])
def test_a_crop_larger_than_the_image_is_refused(crop: int | list[int]) -> None:
    """It was padded with black, silently."""
    with pytest.raises(UserError, match=r"data.preprocess.crop=.* an image of 6x8 \(height x width\) is smaller"):
        Preprocess(crop=crop)(IMAGE)
    assert Preprocess(crop=[6, 8])(IMAGE).shape == (3, 6, 8)


def test_invert() -> None:
    assert torch.equal(Preprocess(invert=True)(IMAGE), 255 - IMAGE)
    dark = torch.zeros(1, 8, 8, dtype=torch.uint8)
    dark[:, 2:6, 2:6] = 250  # most of its middle is bright
    assert torch.equal(Preprocess(invert="auto")(dark), dark)
    assert torch.equal(Preprocess(invert="auto")(255 - dark), dark)
    batch = torch.stack([dark, 255 - dark, dark])
    assert torch.equal(Preprocess(invert="auto")(batch), torch.stack([dark] * 3))
    assert torch.equal(Preprocess(invert="auto", rotate=45)(255 - dark), Preprocess(rotate=45)(dark))  # before corners turn black
    assert torch.equal(border_of(torch.arange(9).view(1, 3, 3)).sort().values, torch.tensor([[0, 1, 2, 3, 5, 6, 7, 8]]))

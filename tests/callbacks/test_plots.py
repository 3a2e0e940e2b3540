from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from calotype.callbacks import plots
from calotype.callbacks.prediction_pictures import confusion_figure


def test_grid_shows_every_image(tmp_path: Path) -> None:
    images = [torch.full((1, 6, 6), v, dtype=torch.uint8) for v in (0, 90, 180)]
    plots.save(plots.image_grid(images, ["a", "b", "c"], title="t", colours=["k"] * 3, columns=2), tmp_path / "x" / "grid.png")
    with Image.open(tmp_path / "x" / "grid.png") as picture:
        shown = np.bincount(np.asarray(picture.convert("L")).ravel(), minlength=256)
    for level in (0, 90, 180):
        assert shown[max(0, level - 1) : level + 2].sum() > 5000, level
    assert not list(tmp_path.rglob("*.part"))


def test_confusion_shades_by_the_row(tmp_path: Path) -> None:
    plots.save(plots.confusion(torch.tensor([[5, 0], [0, 500]]), ["rare", "often"]), tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    dark = (np.abs(pixels.astype(int) - (8, 48, 107)).max(1) < 3).sum()  # the darkest of Blues: both rows are all right
    assert dark > 0.15 * len(pixels)


def test_empty_curves_and_long_names(tmp_path: Path) -> None:
    plots.save(plots.curves({"loss": {"train/loss": ([1.0], [0.0])}}, x_label="step"), tmp_path / "e.png")
    assert plots.shorten("A_very_long_name_indeed") == "A very long name …"


def test_confusion_of_a_thousand_classes_shows_those_with_errors(tmp_path: Path) -> None:
    """A picture of 1000 x 1000 cells has no names and less than a pixel a cell."""
    labels = torch.arange(1000).repeat(3)
    predicted = labels.clone()
    predicted[[500, 1500, 2500]] = 7
    figure = confusion_figure(predicted, labels, [f"c{i}" for i in range(1000)])
    axis = figure.axes[0]
    names = [tick.get_text() for tick in axis.get_yticklabels()]
    assert len(names) == 41
    assert {"c7", "c500", "960 others"} <= set(names)
    table = axis.images[0].get_array()
    assert table[names.index("c500"), names.index("c7")] == 1
    assert "40 of 1000 classes" in axis.get_title()
    plots.save(figure, tmp_path / "c.png")
    few = confusion_figure(torch.tensor([0, 1]), torch.tensor([0, 0]), ["a", "b"])
    assert [tick.get_text() for tick in few.axes[0].get_yticklabels()] == ["a", "b"]

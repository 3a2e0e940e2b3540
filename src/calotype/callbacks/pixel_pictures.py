"""What a model of pixels draws: samples and how they come about, completions of hidden parts, and what a pixel sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from calotype.callbacks import plots
from calotype.callbacks.generation_pictures import grid
from calotype.callbacks.pictures import Pictures
from calotype.ranges import Count, Positive
from calotype.whole_file import whole_file

FRAMES = 40
DECADES = 6  # of influence that are told apart
SEED = 2


class PixelPictures(Pictures):
    """Writes images/samples.png, drawing.gif (the same, row by row), completions.png and receptive_field.png.

    Args:
        columns: of the grid, of as many rows; of a conditional model a column for each class, as many rows.
        completions: test images whose lower half is hidden and drawn, and how often each.
        every: epochs between two pictures of samples in images/film; 0 for none.
    """

    def __init__(self, *, columns: Positive = 8, completions: Count = 5, every: Count = 0) -> None:
        self.columns = columns
        self.completions = completions
        self.every = every

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module: Any = pl_module
        epoch = trainer.current_epoch + 1
        if trainer.is_global_zero and self.every and epoch % self.every == 0:
            columns = self._columns(module)
            plots.save_image(grid(module.draw(self.columns * columns, seed=SEED), columns), _folder(trainer) / "film" / f"{epoch:05}.png")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        module: Any = pl_module
        folder = _folder(trainer)
        columns = self._columns(module)
        drawn = module.draw(self.columns * columns, seed=SEED)
        plots.save_image(grid(drawn, columns), folder / "samples.png")
        _row_by_row(drawn, columns, folder / "drawing.gif")
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if self.completions and data.split_manifest["sizes"]["test"]:
            images = (data.quantised("test")[: self.completions].float() / (module.levels - 1)).cpu()
            labels = data.items.labels[torch.tensor(data.split.test[: self.completions])] if module.conditional else None
            plots.save(_completions(module, images, labels, self.completions), folder / "completions.png")
        plots.save(_receptive_field(module), folder / "receptive_field.png")

    def _columns(self, module: Any) -> int:
        return len(module.spec.class_names) if module.conditional else self.columns


def _row_by_row(drawn: Tensor, columns: int, path: Path) -> None:
    """A GIF: pixels come in raster order, so what was there after a row is what stands above it."""
    height = drawn.shape[2]
    frames = []
    for row in sorted({round(r) for r in np.linspace(1, height, min(height, FRAMES))}):
        shown = drawn.clone()
        shown[:, :, row:] = 0.5
        frames.append(plots.to_image(grid(shown, columns)).convert("RGB").quantize(64))
    with whole_file(path) as partial:
        hold = [120] * (len(frames) - 1) + [2000]
        frames[0].save(partial, format="GIF", save_all=True, append_images=frames[1:], duration=hold, loop=0)


def _completions(module: Any, images: Tensor, labels: Tensor | None, count: int) -> Figure:
    """Each image, what of it is given, and its lower half drawn `count` times."""
    hidden = images.clone()
    hidden[:, :, images.shape[2] // 2 :] = torch.nan
    given = None if labels is None else labels.repeat_interleave(count, 0)
    drawn = module.complete(hidden.repeat_interleave(count, 0), seed=SEED, labels=given)
    rows: dict[str, list[Image.Image]] = {}
    captions: dict[str, list[str]] = {}
    for i, image in enumerate(images):
        name = f"test image {i + 1}"
        tiles = [image[None], hidden[i][None].nan_to_num(0.5), *drawn[i * count : (i + 1) * count].split(1)]
        rows[name] = [plots.to_image(tile).convert("RGB") for tile in tiles]
        captions[name] = ["whole", "given", *[f"drawn {j + 1}" for j in range(count)]] if i == 0 else [""] * len(tiles)
    return plots.rows(rows, captions)


def _receptive_field(module: Any) -> Figure:
    """Which pixels the logits of the middle one depend on, by the size of the slope."""
    model = module.best_model
    _, height, width = module.spec.image_shape
    with torch.inference_mode(False), torch.enable_grad():
        images = torch.rand(1, *module.spec.image_shape, device=module.device, requires_grad=True)
        labels = torch.zeros(1, dtype=torch.int64, device=module.device) if module.conditional else None
        predicted = model(images, labels)[..., height // 2, width // 2].flatten()
        (slope,) = torch.autograd.grad((predicted * torch.linspace(-1, 1, len(predicted), device=module.device)).sum(), images)
    seen = slope[0].abs().sum(0).cpu().numpy()
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axis = figure.subplots()
    decades = np.log10(seen, out=np.full_like(seen, np.nan), where=seen > 0)

    # A dead network depends on no pixel: there is no strongest influence to compare with.
    if seen.max() > 0:
        decades -= np.log10(seen.max())

    shown = axis.imshow(decades, cmap="viridis", vmin=-DECADES, vmax=0)
    bar = figure.colorbar(shown, ax=axis, fraction=0.045, ticks=range(-DECADES, 1), label="influence, against the strongest; white: none")
    bar.ax.set_yticklabels(["1" if k == 0 else f"$10^{{{k}}}$" for k in range(-DECADES, 1)])
    axis.plot(width // 2, height // 2, "rs", markersize=4)
    axis.set_title("what the middle pixel's distribution depends on", fontsize=9)
    return figure


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "images"

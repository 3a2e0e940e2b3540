"""What a generator draws: from the same latents after every epoch, as a film; others at the end, beside the nearest training images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from calotype.callbacks import plots
from calotype.callbacks.pictures import Pictures
from calotype.ranges import Positive
from calotype.whole_file import whole_file

FRAMES = 60  # of a film at most
POINTS = 2500
FIXED, RANDOM = 0, 2  # seeds of latents; figures are of seed 1


class GenerationPictures(Pictures):
    """Writes images/film/<epoch>.png and film.gif (fixed latents), samples.png, and nearest.png, where items are images.

    Of points in the plane, the frames show them over the discriminator's opinion.

    Args:
        columns: of a grid, of as many rows; the classes of a conditional model take turns.
        nearest: samples that are shown beside the nearest training images, by the pixels' distance.
    """

    def __init__(self, *, columns: Positive = 8, nearest: Positive = 8) -> None:
        self.columns = columns
        self.nearest = nearest

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            path = _folder(trainer) / "film" / f"{trainer.current_epoch + 1:05}.png"
            self._frame(pl_module, trainer, path, seed=FIXED, title=f"epoch {trainer.current_epoch + 1}")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        folder = _folder(trainer)
        self._frame(pl_module, trainer, folder / "samples.png", seed=RANDOM, title="samples")
        film(folder / "film", folder / "film.gif")
        if len(pl_module.spec.image_shape) == 3 and self.nearest:  # type: ignore[union-attr, arg-type]
            plots.save(self._nearest(trainer, pl_module), folder / "nearest.png")

    def _frame(self, module: Any, trainer: Any, path: Path, *, seed: int, title: str) -> None:
        if len(module.spec.image_shape) == 3:
            plots.save_image(grid(module.draw(self.columns**2, seed=seed), self.columns), path)
        elif module.spec.image_shape == (2,):
            plots.save(_plane(module, trainer.datamodule, seed, title), path)

    def _nearest(self, trainer: Any, module: Any) -> Figure:
        drawn = module.draw(self.nearest, seed=RANDOM)
        images, _ = trainer.datamodule.images("train")
        distance = torch.cat([torch.cdist(drawn.flatten(1), part.flatten(1)) for part in images.split(4096)], 1)
        found = images[distance.argmin(1)]
        pictures = {"drawn": drawn, "nearest in training": found}
        return plots.rows(
            {name: [plots.to_image(image[None]).convert("RGB") for image in row] for name, row in pictures.items()},
            {
                "drawn": [""] * self.nearest,
                "nearest in training": [f"rms {d / drawn[0].numel() ** 0.5:.3f}" for d in distance.min(1).values.tolist()],
            },
        )


def grid(images: Tensor, columns: int, *, least_side: int = 64) -> Tensor:
    """(N, C, H, W) in rows, (1, C, h, w), with a line of white between; small images are enlarged by a whole number."""
    factor = max(1, least_side // max(images.shape[2:]))
    images = images.float().cpu().repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    rows = -(-len(images) // columns)
    _, channels, height, width = images.shape
    page = torch.ones(1, channels, rows * (height + 2) + 2, columns * (width + 2) + 2)
    for i, image in enumerate(images):
        top, left = i // columns * (height + 2) + 2, i % columns * (width + 2) + 2
        page[0, :, top : top + height, left : left + width] = image
    return page


def film(folder: Path, path: Path) -> None:
    """The pictures of a folder in order as a GIF that is shown for ten seconds at most; every so many where there are more than 60."""
    files = sorted(folder.glob("*.png"))
    if not files:
        return
    step = -(-len(files) // FRAMES)
    chosen = files[::-1][::step][::-1]  # the last one always
    frames = [plots.opened(file).quantize(64) for file in chosen]
    with whole_file(path) as partial:
        hold = [min(500, 10_000 // len(frames))] * (len(frames) - 1) + [2000]
        frames[0].save(partial, format="GIF", save_all=True, append_images=frames[1:], duration=hold, loop=0)


@torch.no_grad()
def _plane(module: Any, datamodule: Any, seed: int, title: str) -> Figure:
    """Points that were drawn, and real ones, over the probability that the discriminator gives each place."""
    real, _ = datamodule.images("val" if datamodule.split.val else "train", POINTS)
    drawn = module.draw(POINTS, seed=seed)
    reach = 1.25 * real.abs().max().item()
    axis_values = torch.linspace(-reach, reach, 120)
    places = torch.cartesian_prod(axis_values, axis_values).to(module.device)
    was = module.training
    module.eval()
    labels = torch.zeros(len(places), dtype=torch.int64, device=module.device) if module.conditional else None
    opinion = module.model.discriminator(places.repeat(1, module.pack), labels).cpu()
    module.train(was)
    surface = opinion.sigmoid().view(120, 120).T.numpy()
    figure = Figure(figsize=(5.4, 5), layout="constrained")
    axis = figure.subplots()
    shown = axis.imshow(surface, extent=(-reach, reach, -reach, reach), origin="lower", cmap="PuOr", vmin=0, vmax=1, alpha=0.6)
    figure.colorbar(shown, ax=axis, fraction=0.045, label="probability of being real, by the discriminator")
    for points, colour, name in ((real, "#57606a", "real"), (drawn, "#b42318", "drawn")):
        x, y = np.asarray(points).T
        axis.scatter(x, y, s=2.0, color=colour, label=name, linewidths=0)
    axis.set_xlim(-reach, reach)
    axis.set_ylim(-reach, reach)
    axis.set_title(title, fontsize=10)
    axis.legend(fontsize=8, loc="upper right", markerscale=4)
    return figure


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "images"

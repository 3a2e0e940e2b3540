"""A texture drawn by a model and by its yardstick, larger than the pieces that the model saw, and a hole filled by both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from calotype.callbacks import plots
from calotype.callbacks.pictures import Pictures
from calotype.metrics.efros_leung import efros_leung
from calotype.ranges import AtLeast0, Positive
from calotype.types import UserError

SEED = 2


class TexturePictures(Pictures):
    """Writes images/texture.png (drawn by the model), efros_leung.png, comparison.png and filled.png.

    Args:
        size: pixels a side of what is drawn; 0 for no pictures.
        hole: pixels a side of the hole that is filled.
        sample: pixels a side of the piece of the picture whose neighbourhoods are looked at; time and memory go with its area.
        window, tolerance: of Efros and Leung's sampling, see `metrics.efros_leung`.
    """

    def __init__(
        self, *, size: Positive = 96, hole: Positive = 24, sample: Positive = 128, window: Positive = 15, tolerance: AtLeast0 = 0.1
    ) -> None:
        fits = size == 0 or 0 < hole < size
        if size < 0 or not fits or window < 3 or window % 2 == 0 or sample < window or tolerance < 0:
            raise UserError(
                f"callbacks: size={size}: 0 and more; hole={hole}: above 0 and below size; window={window}: odd and above 1; "
                f"sample={sample}: not below window; tolerance={tolerance}: 0 and more"
            )
        self.size = size
        self.hole = hole
        self.sample = sample
        self.window = window
        self.tolerance = tolerance

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        side = min(data.parts["test"].shape[1:])
        if self.size and self.hole >= side:
            raise UserError(f"callbacks: hole={self.hole}: the part of the picture for the test is {side} pixels wide; take less")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or not self.size:
            return
        module: Any = pl_module
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        folder = Path(trainer.default_root_dir) / "images"
        sample, test = data.parts["train"][:, : self.sample, : self.sample], data.parts["test"]
        nothing = torch.full((1, len(sample), self.size, self.size), torch.nan)
        cut = sample[:, : self.size, : self.size]
        whole_sample = cut.shape[1:] == sample.shape[1:]
        drawn = {"sample" if whole_sample else "sample (its corner)": cut[None], **self._both(module, sample, nothing)}
        for name, image in list(drawn.items())[1:]:
            plots.save_image(image, folder / ("texture.png" if name == "PixelCNN" else "efros_leung.png"))
        plots.save(plots.strip([plots.to_image(image) for image in drawn.values()], list(drawn)), folder / "comparison.png")
        side = min(self.size, *test.shape[1:])
        whole = test[None, :, :side, :side]
        given = whole.clone()
        middle = slice((side - self.hole) // 2, (side - self.hole) // 2 + self.hole)
        given[:, :, middle, middle] = torch.nan
        filled = {"given": given.nan_to_num(0.5), "as it was": whole, **self._both(module, sample, given)}
        hole = (middle.start, middle.start, self.hole, self.hole)
        figure = plots.strip([plots.to_image(image) for image in filled.values()], list(filled), frame=hole)
        plots.save(figure, folder / "filled.png")

    def _both(self, module: Any, sample: Tensor, given: Tensor) -> dict[str, Tensor]:
        drawn = efros_leung(sample, given[0], window=self.window, tolerance=self.tolerance, seed=SEED)[None]
        learned = {"PixelCNN": module.complete(given, seed=SEED)} if hasattr(module, "complete") else {}
        return {**learned, "Efros and Leung": drawn}

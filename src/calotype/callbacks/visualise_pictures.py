"""What channels respond to, in a grid: a row for each layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from calotype.callbacks import plots
from calotype.callbacks.pictures import Pictures


class VisualisePictures(Pictures):
    """Writes images/layers.png, and images/<layer>/<channel>.png for each picture."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir) / "images"
        layers: Any = pl_module.layers
        named = [(layer, channel) for layer, channels in layers.items() for channel in channels]
        pictures = pl_module().detach()
        for (layer, channel), picture in zip(named, pictures, strict=True):
            plots.save_image(picture[None], folder / layer / f"{channel}.png")
        rows = {layer: [plots.to_image(p[None]) for (name, _), p in zip(named, pictures, strict=True) if name == layer] for layer in layers}
        plots.save(
            plots.rows(rows, {layer: [f"channel {c}" for c in channels] for layer, channels in layers.items()}), folder / "layers.png"
        )

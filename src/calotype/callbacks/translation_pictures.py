"""What a translation looks like: input, result and target of a few test images in rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from calotype.callbacks import plots
from calotype.callbacks.pictures import Pictures
from calotype.metrics.restoration import psnr
from calotype.metrics.translation import Translations


class TranslationPictures(Pictures):
    """Writes images/film/<epoch>.png of the first validation images, and translations.png of the first test images."""

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._seen = list(_of(pl_module).shown)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and getattr(self, "_seen", None):
            _page(self._seen, _folder(trainer) / "film" / f"{trainer.current_epoch + 1:05}.png")

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._seen = list(_of(pl_module).shown)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and self._seen:
            _page(self._seen, _folder(trainer) / "translations.png")


def _page(seen: list[tuple[Tensor, Tensor, Tensor]], path: Path) -> None:
    rows: dict[str, list[Image.Image]] = {"input": [], "made": [], "target": []}
    captions: dict[str, list[str]] = {name: [] for name in rows}
    for given, made, target in seen:
        for name, image in (("input", given), ("made", made), ("target", target)):
            shown = image[:, :3] if image.shape[1] >= 3 else image[:, :1]
            rows[name].append(plots.to_image(torch.clamp(shown, 0, 1)).convert("RGB"))
            comparable = name != "target" and image.shape == target.shape
            captions[name].append(f"{psnr(image, target):.1f} dB" if comparable else "")
    plots.save(plots.rows(rows, captions), path)


def _of(module: Any) -> Translations:
    return module.translations


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "images"

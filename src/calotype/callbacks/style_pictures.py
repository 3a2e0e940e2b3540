"""What a stylization looks like: the result, beside content and style, and how it came about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from calotype.callbacks import plots
from calotype.callbacks.pictures import Pictures
from calotype.metrics.style import Stylization
from calotype.ranges import Count, Positive


class StylePictures(Pictures):
    """Writes images/result.png, comparison.png and progress.png; result.png also where the run fails, from the last good picture.

    Args:
        progress: steps after which the picture is kept as it stands.
        every: and after every so many steps; null for none.
    """

    def __init__(self, *, progress: Sequence[Count] = (), every: Positive | None = None) -> None:
        self.progress = frozenset(progress)
        self.every = every

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        at = trainer.global_step
        if trainer.is_global_zero and (at in self.progress or (self.every and at % self.every == 0)):
            painted: Any = pl_module
            plots.save_image(painted.picture(), _folder(trainer) / "progress" / f"{at:05}.png")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        painted: Any = pl_module
        if trainer.is_global_zero and trainer.global_step:
            plots.save_image(painted.picture(), _folder(trainer) / "result.png")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found: Stylization | None = getattr(pl_module, "stylization", None)
        if not trainer.is_global_zero or found is None:
            return
        folder = _folder(trainer)
        plots.save_image(found.result, folder / "result.png")
        plots.save_image(found.content, folder / "content.png")
        shown = {"content": found.content, **{f"style {i}" if i > 1 else "style": image for i, image in enumerate(found.styles, 1)}}
        plots.save(plots.strip([plots.to_image(x) for x in (*shown.values(), found.result)], [*shown, "result"]), folder / "comparison.png")
        plots.progress(folder / "progress", "step")


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "images"

"""What a restoration looks like: the image at full size, beside the clean one and the yardsticks, and how it came about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer

from calotype.callbacks import plots
from calotype.callbacks.pictures import Pictures
from calotype.metrics.restoration import Restoration, psnr
from calotype.ranges import Count
from calotype.whole_file import whole_file

NAMES = {"nlm": "non-local means", "tv": "total variation", "bm3d": "BM3D", "telea": "Telea", "navier_stokes": "Navier-Stokes"}

LINES = {
    "psnr": "last output",
    "psnr_average": "running average",
    "variance": "variance of the outputs",
    "held_out": "running average, held-out pixels",
    "loss": "loss",
}


class RestorationPictures(Pictures):
    """Writes images/restored.png and restored.tif (16 bits), comparison.png, progress.png and stopping.png.

    Args:
        progress: iterations of the first tile and run whose output is kept as a picture; the whole image where there is one tile.
    """

    def __init__(self, *, progress: Sequence[Count] = ()) -> None:
        self.progress = frozenset(progress)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        at = trainer.global_step
        if trainer.is_global_zero and at in self.progress:
            last: Any = pl_module.last
            plots.save_image(last, _folder(trainer) / "progress" / f"{at:05}.png")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found: Restoration | None = getattr(pl_module, "restoration", None)
        if not trainer.is_global_zero or found is None:
            return
        folder = _folder(trainer)
        restored = found.outputs["at_stop"]
        plots.save_image(restored, folder / "restored.png")
        plots.save_image(found.batch.observed, folder / "observed.png")
        with whole_file(folder / "restored.tif") as partial:
            tifffile.imwrite(partial, plots.to_pixels(restored, np.uint16), photometric="minisblack" if restored.shape[1] == 1 else "rgb")
        plots.save(_comparison(found), folder / "comparison.png")
        plots.save(_stopping(found), folder / "stopping.png")
        plots.progress(folder / "progress", "iteration")


def _comparison(found: Restoration) -> Figure:
    clean = found.batch.clean
    shown = {"observed": found.batch.observed, "deep image prior": found.outputs["at_stop"]}
    if len(clean):
        shown["clean"] = clean
    shown |= {NAMES.get(name, name): image for name, image in found.yardsticks.items()}
    captions = []
    for name, image in shown.items():
        same_size = len(clean) and image.shape == clean.shape
        captions.append(f"{name}\n{psnr(image, clean):.2f} dB" if same_size and name != "clean" else f"{name}\n")
    return plots.strip([plots.to_image(image) for image in shown.values()], captions)


def _stopping(found: Restoration) -> Figure:
    """PSNR, and what the rule that stopped went by, over the iterations of the first tile and run, with the output that was kept marked."""
    curves = {name: values[0].numpy() for name, values in found.curves.items()}
    known = ~np.isnan(curves["loss"])
    x = np.arange(1, known.sum() + 1)
    has_psnr = not np.isnan(curves["psnr"]).all()
    rules = [name for name in ("variance", "held_out") if not np.isnan(curves[name]).all()]
    panels = ["psnr" if has_psnr else "loss", rules[0] if rules else "loss"]
    panels = list(dict.fromkeys(panels))  # without a rule and a clean image there is the loss alone
    figure = Figure(figsize=(5.2 * len(panels), 3.8), layout="constrained")
    for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        names = {"psnr": ("psnr", "psnr_average")}.get(panel, (panel,))
        for name in names:
            axis.plot(x, curves[name][known], label=LINES[name], linewidth=1.2)
        if panel == "psnr":
            for name, value in found.figures.items():
                if name.startswith("baseline/") and not name.startswith("baseline/hole"):
                    value = round(value, 3)  # the last digits of BM3D differ from run to run
                    axis.axhline(value, linewidth=0.8, linestyle=":", color="#57606a")
                    axis.annotate(name[9:-5], (0, value), fontsize=7, color="#57606a", va="bottom")
            low = np.nanpercentile(curves["psnr"][known], 5)
            axis.set_ylim(bottom=low)
        else:
            axis.set_yscale("log")
        if len(found.kept_at):
            axis.axvline(int(found.kept_at[0]), color="#b42318", linewidth=1, label=f"kept: iteration {int(found.kept_at[0])}")
        axis.set_xlabel("iteration")
        axis.set_title(
            {"psnr": "PSNR, dB", "variance": "variance of the outputs", "held_out": "error over held-out pixels", "loss": "loss"}[panel],
            fontsize=10,
        )
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return figure


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "images"

"""images/curves.png: how losses and validation figures went over the run."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning import LightningModule, Trainer

from calotype.callbacks import plots
from calotype.callbacks.metrics_csv import read_metrics
from calotype.callbacks.pictures import Pictures


class LossCurves(Pictures):
    """Drawn from metrics.csv when fitting ends: panels for losses (and bits per dimension), other validation figures, and training's."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self.draw(Path(trainer.default_root_dir))

    def draw(self, folder: Path) -> None:
        """Plot what metrics.csv of the run folder holds."""
        path = folder / "metrics.csv"
        if not path.exists():
            return
        panels: dict[str, dict[str, tuple[list[float], list[float]]]] = {"loss": {}, "validation": {}, "training": {}}
        for step, _, name, value in read_metrics(path):
            stage, _, figure = name.partition("/")
            if stage not in ("train", "val") or figure == "nll_nats":  # bits_per_dim is the same on a scale of its own
                continue
            x, y = panels[
                "loss" if figure.startswith(("loss", "bits_per_dim")) else {"val": "validation", "train": "training"}[stage]
            ].setdefault(name, ([], []))
            x.append(step + 1)
            y.append(value)
        panels = {title: lines for title, lines in panels.items() if lines}
        if panels:
            plots.save(plots.curves(panels, x_label="training step"), path.parent / "images" / "curves.png")

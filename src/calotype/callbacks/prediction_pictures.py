"""What a classifier got right and wrong, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from calotype.callbacks import plots
from calotype.callbacks.pictures import Pictures
from calotype.metrics.classification import confusion_counts, most_confused
from calotype.ranges import Positive

MAX_CLASSES = 60  # of a confusion matrix that is drawn whole; of more classes, those with the most errors are drawn
MOST_CONFUSED = 40


class PredictionPictures(Pictures):
    """Writes images/right.png, images/wrong.png and images/confusion_matrix.png after the test.

    Right ones are a seeded draw; wrong ones come with the surest first. Where there are none, that picture is not made.
    Of more than 60 classes, the confusion matrix shows the 40 with the most errors and all others as one.

    Args:
        most: images in a grid.
    """

    def __init__(self, *, most: Positive = 32) -> None:
        self.most = most

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        predictions: Any = getattr(pl_module, "test_predictions", None)
        if not trainer.is_global_zero or predictions is None:
            return
        logits, labels, index = predictions
        folder = Path(trainer.default_root_dir) / "images"
        spec: Any = pl_module.spec
        sure, predicted = logits.softmax(1).max(1)
        plots.save(confusion_figure(predicted, labels, spec.class_names), folder / "confusion_matrix.png")

        right = (predicted == labels).nonzero()[:, 0]
        right = right[torch.randperm(len(right), generator=torch.Generator().manual_seed(0))]
        wrong = (predicted != labels).nonzero()[:, 0]
        wrong = wrong[sure[wrong].argsort(descending=True)]
        for name, chosen, colour in (("right", right, "#1a7f37"), ("wrong", wrong, "#b42318")):
            self._grid(trainer, folder, name, chosen, colour, (sure, predicted, labels, index), spec.class_names, len(labels))

    def _grid(
        self,
        trainer: Trainer,
        folder: Path,
        name: str,
        chosen: Tensor,
        colour: str,
        results: tuple[Tensor, Tensor, Tensor, Tensor],
        class_names: tuple[str, ...],
        total: int,
    ) -> None:
        sure, predicted, labels, index = results
        path = folder / f"{name}.png"
        path.unlink(missing_ok=True)  # of an earlier test of the same run
        shown = chosen[: self.most].tolist()
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        images = [datamodule.image(int(index[i])) for i in shown]
        if not images or images[0].ndim != 3:
            return
        captions = []
        for i in shown:
            said = f"{plots.shorten(class_names[int(predicted[i])])} {sure[i]:.0%}"
            captions.append(said if name == "right" else f"{said}\ntrue: {plots.shorten(class_names[int(labels[i])])}")
        wrong = int((predicted != labels).sum())
        count = total - wrong if name == "right" else wrong
        title = f"{name}: {count} of {total} test images" + (f", {len(shown)} shown" if len(shown) < count else "")
        plots.save(plots.image_grid(images, captions, title=title, colours=[colour] * len(images)), path)


def confusion_figure(predicted: Tensor, labels: Tensor, class_names: Sequence[str]) -> Figure:
    """Return the confusion matrix of predicted and true classes (N,); of more than 60 classes, the 40 with the most errors."""
    total = len(class_names)
    if total <= MAX_CLASSES:
        return plots.confusion(confusion_counts(predicted, labels, total), class_names)

    chosen, counts = most_confused(predicted, labels, total, MOST_CONFUSED)
    names = [*(class_names[i] for i in chosen.tolist()), f"{total - len(chosen)} others"]
    return plots.confusion(counts, names, title=f"the {len(chosen)} of {total} classes with the most errors")

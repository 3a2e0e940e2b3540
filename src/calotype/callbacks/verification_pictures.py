"""What a network that tells distances got right and wrong, as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from calotype.callbacks import plots, verification_plots
from calotype.callbacks.pictures import Pictures
from calotype.metrics.verification import equal_error_rate, error_rates
from calotype.ranges import Positive

# file name, title, accepted, same
GRIDS = (
    ("same_right", "the same, and judged the same", True, True),
    ("same_wrong", "the same, judged different", False, True),
    ("different_right", "different, and judged different", False, False),
    ("different_wrong", "different, judged the same", True, False),
)


class VerificationPictures(Pictures):
    """Writes images/roc.png, det.png, distances.png, map.png and four grids of pairs after the test.

    Rightly judged pairs are a seeded draw; of the wrong ones those farthest on the wrong side of the threshold. Where
    there are none, that picture is not made. Without a threshold there are no grids.

    Args:
        most: pairs in a grid.
        thumbnails: images on the map of embeddings.
    """

    def __init__(self, *, most: Positive = 12, thumbnails: Positive = 150) -> None:
        self.most = most
        self.thumbnails = thumbnails

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found: Any = getattr(pl_module, "verification", None)
        if not trainer.is_global_zero or found is None:
            return
        (figures, _, pairs, distances), embeddings, labels, index = found
        folder = Path(trainer.default_root_dir) / "images"
        decision: Any = pl_module.decision
        threshold = float(decision.threshold) if decision.known else None
        if len(distances) and bool(pairs.same.any()) and not bool(pairs.same.all()) and bool(distances.isfinite().all()):
            rates = error_rates(distances, pairs.same)
            eer = equal_error_rate(rates).item()
            plots.save(verification_plots.roc(rates, figures.get("auroc", 0.0), eer), folder / "roc.png")
            plots.save(verification_plots.det(rates, eer), folder / "det.png")
            plots.save(verification_plots.distances(distances, pairs.same, threshold), folder / "distances.png")
            if threshold is not None:
                self._grids(trainer, folder, pairs, distances, threshold, index)
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[: self.thumbnails]
        images = [datamodule.image(int(index[i])) for i in chosen]
        if len(images) > 3 and images[0].ndim == 3 and bool(embeddings.isfinite().all()):
            plots.save(verification_plots.embedding_map(embeddings, chosen, images, labels[chosen]), folder / "map.png")

    def _grids(self, trainer: Trainer, folder: Path, pairs: Any, distances: Tensor, threshold: float, index: Tensor) -> None:
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        accepted = distances <= threshold
        for name, title, accept, same in GRIDS:
            path = folder / f"{name}.png"
            path.unlink(missing_ok=True)  # of an earlier test of the same run
            kind = pairs.same == same
            chosen = (kind & (accepted == accept)).nonzero()[:, 0]
            if accept == same:
                order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0))
            else:
                order = (distances[chosen] - threshold).abs().argsort(descending=True)
            shown = chosen[order[: self.most]].tolist()
            both = [(datamodule.image(int(index[pairs.first[i]])), datamodule.image(int(index[pairs.second[i]]))) for i in shown]
            if not both or both[0][0].ndim != 3:
                continue
            tiles = [verification_plots.side_by_side(a, b) for a, b in both]
            colour = "#1a7f37" if accept == same else "#b42318"
            heading = f"{title}: {len(chosen)} of {int(kind.sum())} pairs" + (f", {len(shown)} shown" if len(shown) < len(chosen) else "")
            captions = [f"distance {distances[i]:.3g}" for i in shown]
            heading += f"; threshold {threshold:.3g}"
            plots.save(plots.image_grid(tiles, captions, title=heading, colours=[colour] * len(tiles), columns=4, width=2.6), path)

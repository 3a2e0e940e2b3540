"""What siamese and facenet both do with embeddings in evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from calotype.console import echo
from calotype.data.augment import warp
from calotype.metrics.evaluation import Evaluation, Measure
from calotype.metrics.predictions import Predictions
from calotype.types import DataSpec, UserError

CHUNK = 65536  # pairs measured at once


def embedding_size(model: nn.Module, spec: DataSpec) -> int:
    """D of the embeddings that `model` gives for images of the data."""
    training = model.training
    with torch.no_grad():
        size: int = model.eval()(torch.zeros(2, *spec.image_shape)).shape[1]
    model.train(training)  # Lightning trains a module in the mode in which it finds it
    return size


def views(images: Tensor, *, flip: bool, zooms: Sequence[float]) -> Iterator[Tensor]:
    """What evaluation looks at of images (N, C, H, W): each zoom of them, and with `flip` its mirror image.

    A zoom above 1 enlarges the middle; below 1 the edge is continued. The size stays.
    """
    for zoom in zooms:
        matrix = images.new_tensor([[1 / zoom, 0, 0], [0, 1 / zoom, 0]]).expand(len(images), 2, 3)
        seen = images if zoom == 1 else warp(images, matrix)
        yield seen
        if flip:
            yield seen.flip(-1)


def checked_zooms(zooms: Sequence[float]) -> tuple[float, ...]:
    """Raises UserError for none, or one that is not above 0."""
    if not zooms or min(zooms) <= 0:
        raise UserError(f"task.zoom_test={list(zooms)}: factors above 0, [1.0] for the image as it is")
    return tuple(zooms)


def collected(predictions: Predictions) -> tuple[Tensor, Tensor, Tensor]:
    """embeddings (N, D), labels (N,), item numbers (N,) of a whole side, on the CPU; `predictions` starts anew."""
    embeddings, labels, index = (part.cpu() for part in predictions.compute())
    predictions.reset()
    return embeddings, labels, index


def measure_of(distance: Callable[[Tensor, Tensor], Tensor], embeddings: Tensor, device: torch.device | None = None) -> Measure:
    """Distances of pairs of images, given by number, a chunk at a time.

    Args:
        distance: of embeddings (M, D) and (M, D): (M,).
        embeddings: (N, D), on the CPU.
        device: where `distance` computes.
    """

    def measure(first: Tensor, second: Tensor) -> Tensor:
        parts = zip(first.split(CHUNK), second.split(CHUNK), strict=True)
        with torch.no_grad():
            return torch.cat([distance(embeddings[a].to(device), embeddings[b].to(device)).cpu() for a, b in parts] or [torch.zeros(0)])

    return measure


def report(module: LightningModule, stage: str, evaluation: Evaluation) -> None:
    """Log the figures; after a test say which could not be had, and why.

    Embeddings that are no longer numbers give none, which `callbacks.divergence` reads in `module.diverged`.
    """
    is_finite = bool(evaluation.distances.isfinite().all())
    module.diverged = "" if is_finite else f"distances of {stage} pairs are no longer numbers"  # type: ignore[assignment]
    for name, value in evaluation.figures.items():
        module.log(f"{stage}/{name}", value, prog_bar=name in ("eer", "accuracy"), sync_dist=True)
    if module.trainer.is_global_zero and stage == "test":
        for line in evaluation.missing:
            echo(f"left out: {line}")

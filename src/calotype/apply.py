"""A finished run used on new inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from hydra.utils import instantiate
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from calotype.datasets.image_file import read_image
from calotype.runner import load
from calotype.types import DataSpec, UserError


def classify(run_dir: str | Path, images: Sequence[str | Path], *, top: int = 1) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """For each image file its path and the `top` likeliest (label, probability), the likeliest first.

    Images pass through the run's preprocessing, and are brought to its size where that leaves them at their own.

    Raises:
        UserError: the run is no classifier, or a file is missing or no image (all are looked for before any is read).
    """
    cfg, module = load(run_dir)
    task = cfg.task._target_.split(".")[-2]
    if task != "classification":
        raise UserError(f"{run_dir}: a run of task={task}, and classify needs one of task=classification")
    spec: DataSpec = module.spec
    if len(spec.image_shape) != 3:
        raise UserError(f"{run_dir}: it classifies points, not images")
    if not 1 <= top <= len(spec.class_names):
        raise UserError(f"--top {top}: the run knows {len(spec.class_names)} classes")
    for path in images:
        if not Path(path).is_file():
            raise UserError(f"{path}: {'a folder; name the images in it' if Path(path).is_dir() else 'no such file'}")
    preprocess = instantiate(cfg.data.preprocess)
    for path in images:
        pixels = _fit(preprocess(read_image(Path(path), spec.channels)), spec)
        with torch.no_grad():
            probabilities = module(pixels[None].float() / 255).exp()[0]
        values, indices = probabilities.topk(top)
        yield str(path), [(spec.class_names[i], p) for i, p in zip(indices.tolist(), values.tolist(), strict=True)]


def _fit(image: Tensor, spec: DataSpec) -> Tensor:
    """uint8 (C, H, W) as the network takes it."""
    channels, height, width = spec.image_shape
    if tuple(image.shape[1:]) != (height, width):
        image = F.resize(image, [height, width], antialias=True)
    if image.shape[0] != channels:
        image = F.rgb_to_grayscale(image) if channels == 1 else image.expand(channels, -1, -1)
    return image

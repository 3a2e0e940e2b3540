"""What every use of a finished run begins with: load it, and see that files are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from calotype.compose import load_config
from calotype.datasets.image_file import read_image
from calotype.runner import load
from calotype.types import DataSpec, UserError


def load_for(run_dir: str | Path, command: str, tasks: Sequence[str], *, points: bool = False) -> tuple[DictConfig, Any]:
    """Config and module, in evaluation mode on the CPU.

    Raises:
        UserError: the run is of another task, or was trained on points and not `points`.
    """
    task = load_config(Path(run_dir)).task._target_.split(".")[-2]
    if task not in tasks:
        raise UserError(f"{run_dir}: a run of task={task}, and {command} needs one of task={' or '.join(tasks)}")
    cfg, module = load(run_dir)
    if len(module.spec.image_shape) != 3 and not points:
        raise UserError(f"{run_dir}: it was trained on points, not on images")
    return cfg, module


def look_for(images: Sequence[str | Path]) -> None:
    """Raises UserError for the first that is no file."""
    for path in images:
        if not Path(path).is_file():
            raise UserError(f"{path}: {'a folder; name the images in it' if Path(path).is_dir() else 'no such file'}")


def targets_in(out: Path, images: Sequence[str | Path]) -> list[Path]:
    """A PNG file in `out` for each image. Raises UserError where two would be one, or one would take an image's own place."""
    targets = [out / f"{Path(path).stem}.png" for path in images]
    doubles = sorted(path.name for path, count in Counter(targets).items() if count > 1)
    if doubles:
        raise UserError(f"{doubles[0]}: two images would be written to it; rename one")
    own = {Path(path).resolve() for path in images}
    for target in targets:
        if target.resolve() in own:
            raise UserError(f"{target}: the result would take the image's own place; give another --out")
    return targets


def prepared(path: str | Path, preprocess: Callable[[Tensor], Tensor], spec: DataSpec) -> Tensor:
    """Return the image in a file as the network takes it, uint8 (C, H, W). Raises UserError, which names the file."""
    return fit(preprocessed(path, read_image(Path(path), spec.channels), preprocess), spec)


def preprocessed(path: str | Path, image: Tensor, preprocess: Callable[[Tensor], Tensor]) -> Tensor:
    """Return `preprocess(image)`. Raises UserError, which names the file, where the image is smaller than the run's crop."""
    try:
        return preprocess(image)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def fit(image: Tensor, spec: DataSpec) -> Tensor:
    """uint8 (C, H, W) as the network takes it."""
    channels, height, width = spec.image_shape
    if tuple(image.shape[1:]) != (height, width):
        image = F.resize(image, [height, width], antialias=True)
    if image.shape[0] != channels:
        image = F.rgb_to_grayscale(image) if channels == 1 else image.expand(channels, -1, -1)
    return image

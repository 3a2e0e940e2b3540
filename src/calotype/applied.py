"""What every use of a finished run begins with: load it, and see that files are there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from calotype.compose import load_config
from calotype.console import complain
from calotype.data.likeness import Likeness
from calotype.datasets.image_file import read_image
from calotype.images import check_file
from calotype.places import expanded
from calotype.records import read_json
from calotype.run_folder import INPUTS
from calotype.runner import load
from calotype.types import DataSpec, UserError


def load_for(run_dir: str | Path, command: str, tasks: Sequence[str], *, points: bool = False) -> tuple[DictConfig, Any]:
    """Config and module, in evaluation mode on the CPU.

    Raises:
        UserError: the run is of another task, or was trained on points and not `points`.
    """
    task = load_config(expanded(run_dir)).task._target_.split(".")[-2]
    if task not in tasks:
        raise UserError(f"{run_dir}: a run of task={task}, and {command} needs one of task={' or '.join(tasks)}")
    cfg, module = load(run_dir)
    if len(module.spec.image_shape) != 3 and not points:
        raise UserError(f"{run_dir}: it was trained on points, not on images")
    return cfg, module


def look_for(images: Sequence[str | Path]) -> None:
    """Raises UserError for the first that is no file."""
    for path in images:
        if os.path.isdir(path):
            raise UserError(f"{path}: a folder; name the images in it")
        check_file(expanded(path))


def targets_in(out: Path, images: Sequence[str | Path]) -> list[Path]:
    """A PNG file in `out` for each image. Raises UserError where two would be one, or one would take an image's own place."""
    targets = [out / f"{expanded(path).stem}.png" for path in images]
    doubles = sorted(path.name for path, count in Counter(targets).items() if count > 1)
    if doubles:
        raise UserError(f"{doubles[0]}: two images would be written to it; rename one")
    own = {expanded(path).resolve() for path in images}
    for target in targets:
        if target.resolve() in own:
            raise UserError(f"{target}: the result would take the image's own place; give another --out")
    return targets


class Inputs:
    """Image files as a run's network takes them, with a warning on stderr for those unlike its training images.

    Args:
        run_dir: the run folder, with its statistics of training images; of an earlier version's there is no warning.
        preprocess: the run's.
        spec: of its data.
        invert: True takes the negative of every image; `auto` where that is like the training images, and the image is not.

    Raises:
        UserError: `auto`, and the run has no statistics.
    """

    def __init__(
        self, run_dir: str | Path, preprocess: Callable[[Tensor], Tensor], spec: DataSpec, *, invert: bool | Literal["auto"] = False
    ) -> None:
        self.preprocess, self.spec, self.invert = preprocess, spec, invert
        self._named: set[str] = set()  # files that were warned of: one may be given twice
        self.likeness = _likeness(expanded(run_dir) / INPUTS)
        if invert == "auto" and self.likeness is None:
            raise UserError(
                f"{run_dir}: no {INPUTS}, by which auto would know a negative (a run of an earlier version); give true or false"
            )

    def __call__(self, path: str | Path) -> tuple[Tensor, Tensor, Tensor]:
        """Return the image as it was read, preprocessed, and as the network takes it; uint8 (C, H, W).

        Raises:
            UserError: which names the file; also where the image is smaller than the run's crop.
        """
        image = read_image(expanded(path), self.spec.channels)
        if self.invert is True:
            image = 255 - image
        made = self._made(path, image)
        pixels = fit(made, self.spec)
        if self.likeness is None:
            return image, made, pixels

        score = self.likeness.score(pixels[None]).item()
        if score <= self.likeness.threshold:
            return image, made, pixels
        negative = self._made(path, 255 - image)
        is_negative = self.likeness.score(fit(negative, self.spec)[None]).item() <= self.likeness.threshold
        if is_negative and self.invert == "auto":
            return 255 - image, negative, fit(negative, self.spec)

        if str(path) in self._named:
            return image, made, pixels
        self._named.add(str(path))
        hint = "; its negative is like them (--invert auto takes it)" if is_negative else ""
        below = f"99 % of the validation images' are below {self.likeness.threshold:.1f}"
        difference = self.likeness.difference(pixels)
        complain(f"{path}: unlike the training images, score {score:.1f}, {below} ({difference}){hint}")
        return image, made, pixels

    def _made(self, path: str | Path, image: Tensor) -> Tensor:
        try:
            return self.preprocess(image)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None


def _likeness(path: Path) -> Likeness | None:
    if not path.is_file():
        return None
    plain = read_json(path)
    try:
        return Likeness.from_plain(plain)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); remove it to do without warnings") from None


def fit(image: Tensor, spec: DataSpec) -> Tensor:
    """uint8 (C, H, W) as the network takes it."""
    channels, height, width = spec.image_shape
    if tuple(image.shape[1:]) != (height, width):
        image = F.resize(image, [height, width], antialias=True)
    if image.shape[0] != channels:
        image = F.rgb_to_grayscale(image) if channels == 1 else image.expand(channels, -1, -1)
    return image

"""New images from a finished run of a generative model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor

from calotype.applied import load_for, look_for, targets_in
from calotype.callbacks import plots
from calotype.callbacks.generation_pictures import grid
from calotype.datasets.image_file import read_image
from calotype.types import UserError

GENERATORS = ("gan", "cgan")
TRANSLATORS = ("translation", "cyclegan")


def sample(run_dir: str | Path, n: int, out: Path, *, label: str | None = None, seed: int = 0) -> Iterator[str]:
    """Draw `n` images into `out`: single files, and a grid of them; their paths.

    Args:
        label: the class, of a conditional model; by default the classes take turns.
        seed: of the latents: the same seed draws the same images.

    Raises:
        UserError: the run draws nothing, `n` is not above 0, or there is no such class.
    """
    module = _generator(run_dir, "sample", n)
    labels = None if label is None else torch.full((n,), _class(module, label))
    yield from _write(module.draw(n, seed=seed, labels=labels), out)


def interpolate(run_dir: str | Path, n: int, out: Path, *, label: str | None = None, seed: int = 0) -> Iterator[str]:
    """Draw `n` images on the way from one latent to another, along the arc between them, into `out`; their paths.

    Normal latents of many numbers lie near a sphere, which a straight way would leave (White, 2016).

    Raises:
        UserError: as `sample`.
    """
    module = _generator(run_dir, "interpolate", n)
    start, end = module.latents(2, seed=seed).double()
    angle = torch.arccos((start @ end / (start.norm() * end.norm())).clamp(-1, 1))
    share = torch.linspace(0, 1, n, dtype=torch.float64)[:, None]
    latents = ((torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * end) / torch.sin(angle)).float()
    labels = torch.full((n,), 0 if label is None else _class(module, label)) if module.conditional else None
    if label is not None and not module.conditional:
        _class(module, label)
    with torch.no_grad():
        images = torch.cat([module(part, None if labels is None else labels[: len(part)]) for part in latents.split(500)])
    yield from _write(images, out)


def translate(run_dir: str | Path, images: Sequence[str | Path], out: Path) -> Iterator[str]:
    """Make of each image file, of any size, what the run learned to make, as PNG files of the same names in `out`; their paths.

    Raises:
        UserError: the run translates nothing, a file is missing or no image, or two images would have the same name.
    """
    cfg, module = load_for(run_dir, "translate", TRANSLATORS)
    look_for(images)
    targets = targets_in(out, images)
    pair = instantiate(cfg.data.pair)
    channels = module.spec.input_shape[0]
    for path, target in zip(images, targets, strict=True):
        given = pair.given(read_image(Path(path), module.spec.channels)[None].float() / 255)
        if given.shape[1] != channels:
            raise UserError(f"{path}: {given.shape[1]} channels, and the run takes {channels}")
        out.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            plots.save_image(module(given), target)
        yield str(target)


def _generator(run_dir: str | Path, command: str, n: int) -> Any:
    _, module = load_for(run_dir, command, GENERATORS)
    if n < 1:
        raise UserError(f"--n {n}: at least 1")
    return module


def _class(module: Any, label: str) -> int:
    """The number of a class by its name."""
    if not module.conditional:
        raise UserError(f"--label {label}: the run was trained without classes; use one of task=cgan")
    names = module.spec.class_names
    if label not in names:
        raise UserError(f"--label {label}: the run knows {', '.join(names[:30])}{' and more' if len(names) > 30 else ''}")
    return int(names.index(label))


def _write(images: Tensor, out: Path) -> Iterator[str]:
    out.mkdir(parents=True, exist_ok=True)
    digits = len(str(len(images)))
    for i, image in enumerate(images, 1):
        path = out / f"{i:0{digits}}.png"
        plots.save_image(image[None], path)
        yield str(path)
    if len(images) > 1:
        path = out / "grid.png"
        plots.save_image(grid(images, round(len(images) ** 0.5 + 0.499)), path)
        yield str(path)

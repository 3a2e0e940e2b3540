"""New images from a finished run of a generative model."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from calotype.applied import fit, load_for, look_for, targets_in
from calotype.building import build
from calotype.callbacks import plots
from calotype.callbacks.generation_pictures import grid
from calotype.console import echo
from calotype.data.levels import quantise
from calotype.datasets.image_file import read_image
from calotype.places import expanded
from calotype.tasks.pixelcnn import PixelLikelihood, check_temperature
from calotype.tiled import TILE_PIXELS, Given, paint
from calotype.types import OptionError, UserError

GANS = ("gan", "cgan")
TRANSLATORS = ("translation", "cyclegan")


def sample(
    run_dir: str | Path, n: int, out: Path, *, label: str | None = None, seed: int = 0, temperature: float | None = None
) -> Iterator[str]:
    """Draw `n` images into `out`: single files, and a grid of them; their paths.

    Args:
        label: the class, of a conditional model; by default the classes take turns.
        seed: of the draw: the same seed draws the same images.
        temperature: of task=pixelcnn, below 1 for likelier pixels, 0 for the likeliest alone; 1 by default.

    Raises:
        UserError: the run draws nothing, `n` is not above 0, or there is no such class.
    """
    module = _generator(run_dir, "sample", n, (*GANS, "pixelcnn"))
    labels = None if label is None else torch.full((n,), _class(module, label))
    options: dict[str, Any] = {}
    if isinstance(module, PixelLikelihood):
        options = {"temperature": _said(temperature), "tell": _progress}
    elif temperature is not None:
        raise OptionError(f"--temperature {temperature}: of runs of task=pixelcnn; a GAN has none")
    _ready(out)
    yield from _write_all(module.draw(n, seed=seed, labels=labels, **options), out)


def complete(
    run_dir: str | Path,
    image: Path,
    mask: Path,
    n: int,
    out: Path,
    *,
    label: str | None = None,
    seed: int = 0,
    temperature: float | None = None,
    resize: bool = False,
) -> Iterator[str]:
    """Draw what a mask hides of an image, `n` times, into `out`, and a strip of all beside what is given; their paths.

    A pixel is drawn from those before it in raster order, whether they were given or drawn: what is given below a hole does not steer it.

    Args:
        mask: an image of the same size, black where it is hidden.
        label, seed, temperature: as in `sample`.
        resize: image and mask to the run's size and colours, where they have others.

    Raises:
        UserError: the run models no pixels, or a file does not fit.
    """
    module = _generator(run_dir, "complete", n, ("pixelcnn",))
    look_for([image, mask])
    pixels = _at_levels(module, image, resize=resize)
    known = read_image(mask, 1)[0] >= 128
    height, width = read_image(image).shape[1:]
    if known.shape != (height, width):
        sizes = f"{known.shape[1]}x{known.shape[0]} pixels and the image {width}x{height}"
        raise UserError(f"{mask}: the mask is {sizes}; give one of its size, with --resize, too")
    if resize:
        known = F.resize(known[None].byte(), list(pixels.shape[1:]), F.InterpolationMode.NEAREST)[0].bool()
    if known.all():
        raise UserError(f"{mask}: it hides nothing; pixels darker than middle grey (128) are hidden")
    _ready(out)
    given = torch.where(known, pixels, torch.nan)[None].repeat(n, 1, 1, 1)
    labels = None if label is None else torch.full((n,), _class(module, label))
    drawn = module.complete(given, seed=seed, labels=labels, temperature=_said(temperature), tell=_progress)
    yield from _write(drawn, out)
    page = [pixels, given[0].nan_to_num(0.5), *drawn]
    captions = ["whole", "given", *(f"drawn {i}" for i in range(1, n + 1))]
    columns = min(8, len(page))
    eight_bit = [(tile * 255).round().to(torch.uint8) for tile in page]
    figure = plots.image_grid(eight_bit, captions, title=image.name, colours=["black"] * len(page), columns=columns)
    plots.save(figure, out / "grid.png")
    yield str(out / "grid.png")


def score(run_dir: str | Path, images: Sequence[Path], *, label: str | None = None, resize: bool = False) -> Iterator[tuple[str, float]]:
    """Bits per dimension of each image file: high for the odd one out.

    Args:
        label, resize: as in `complete`.

    Raises:
        UserError: the run models no pixels, or a file is no image of its size.
    """
    module = _generator(run_dir, "score", 1, ("pixelcnn",))
    if module.conditional and label is None:
        raise UserError("score: the run is conditional; say the class by --label")
    look_for(images)
    read = [_at_levels(module, expanded(path), resize=resize)[None] for path in images]  # all of them before a figure is told
    for path, pixels in zip(images, read, strict=True):
        with torch.no_grad():
            nats = module(pixels, None if label is None else torch.full((1,), _class(module, label)))
        yield str(path), nats.item() / (pixels.numel() * math.log(2))


def interpolate(run_dir: str | Path, n: int, out: Path, *, label: str | None = None, seed: int = 0) -> Iterator[str]:
    """Draw `n` images on the way from one latent to another, along the arc between them, into `out`; their paths.

    Normal latents of many numbers lie near a sphere, which a straight way would leave (White, 2016).

    Raises:
        UserError: as `sample`.
    """
    module = _generator(run_dir, "interpolate", n, GANS)
    start, end = module.latents(2, seed=seed).double()
    angle = torch.arccos((start @ end / (start.norm() * end.norm())).clamp(-1, 1))
    share = torch.linspace(0, 1, n, dtype=torch.float64)[:, None]
    latents = ((torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * end) / torch.sin(angle)).float()
    labels = torch.full((n,), 0 if label is None else _class(module, label)) if module.conditional else None
    if label is not None and not module.conditional:
        _class(module, label)
    _ready(out)
    with torch.no_grad():
        images = torch.cat([module(part, None if labels is None else labels[: len(part)]) for part in latents.split(500)])
    yield from _write_all(images, out)


def translate(run_dir: str | Path, images: Sequence[str | Path], out: Path, *, tile_pixels: int = TILE_PIXELS) -> Iterator[str]:
    """Make of each image file, of any size, what the run learned to make, as PNG files of the same names in `out`; their paths.

    Args:
        tile_pixels: larger images are made in tiles of so many pixels, without a seam (see `calotype.tiled`).

    Raises:
        UserError: the run translates nothing, a file is missing or no image, or two images would have the same name.
    """
    cfg, module = load_for(run_dir, "translate", TRANSLATORS)
    look_for(images)
    targets = targets_in(out, images)
    pair = build(cfg.data.pair)
    channels = module.spec.input_shape[0]
    for path, target in zip(images, targets, strict=True):
        given = Given.by_pair(read_image(expanded(path), module.spec.channels), pair)
        found = given.read((0, 1), (0, 1)).shape[1]
        if found != channels:
            raise UserError(f"{path}: {found} channels, and the run takes {channels}")
        out.mkdir(parents=True, exist_ok=True)
        paint(module, module.network, given, target, tile_pixels=tile_pixels)
        yield str(target)


def _generator(run_dir: str | Path, command: str, n: int, tasks: Sequence[str]) -> Any:
    _, module = load_for(run_dir, command, tasks)
    if n < 1:
        raise OptionError(f"--n {n}: at least 1")
    return module


def _class(module: Any, label: str) -> int:
    """The number of a class by its name."""
    if not module.conditional:
        conditional = "task.conditional=true" if isinstance(module, PixelLikelihood) else "task=cgan"
        raise OptionError(f"--label {label}: the run was trained without classes; use one of {conditional}")
    names = module.spec.class_names
    if label not in names:
        raise OptionError(f"--label {label}: the run knows {', '.join(names[:30])}{' and more' if len(names) > 30 else ''}")
    return int(names.index(label))


def _at_levels(module: Any, path: Path, *, resize: bool) -> Tensor:
    """The image (C, H, W) of the run's size at its levels; of two levels, cut at one half."""
    channels, height, width = module.spec.image_shape
    image = read_image(path)
    if channels == 1 and bool((image == image[:1]).all()):
        image = read_image(path, 1)  # grey by its pixels, in whatever way it is kept
    if resize:
        image = fit(image, module.spec)
    if tuple(image.shape) != (channels, height, width):
        found = "x".join(map(str, image.shape))
        raise UserError(
            f"{path}: {found} (channels, height, width), and the run models {channels}x{height}x{width}; give --resize to make it so"
        )
    return quantise(image[None].float() / 255, torch.zeros(1), module.levels, binarise="threshold", seed=0, training=False)[0]


def _said(temperature: float | None) -> float:
    """The temperature, 1 by default; that 0 leaves nothing to chance is said."""
    if temperature == 0:
        echo("calotype: temperature 0: every pixel takes its likeliest level, and the seed changes nothing", error=True)
    if temperature is None:
        return 1.0
    check_temperature(temperature)
    return temperature


def _progress(done: int, rows: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rrow {done} of {rows}" + ("" if done < rows else "\n"))
        sys.stderr.flush()


def _ready(out: Path) -> None:
    """Make the folder before anything is drawn for it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        found = sum(1 for _ in out.iterdir())
    except OSError as error:
        raise OptionError(f"--out {out}: {error.strerror}; give a folder that is new or empty") from None
    if found:
        raise OptionError(f"--out {out}: {found} files are in it, which would mix with what is drawn; give a folder that is new or empty")


def _write(images: Tensor, out: Path) -> Iterator[str]:
    digits = len(str(len(images)))
    for i, image in enumerate(images, 1):
        path = out / f"{i:0{digits}}.png"
        plots.save_image(image[None], path)
        yield str(path)


def _write_all(images: Tensor, out: Path) -> Iterator[str]:
    """Also a grid of all."""
    yield from _write(images, out)
    if len(images) > 1:
        path = out / "grid.png"
        plots.save_image(grid(images, round(len(images) ** 0.5 + 0.499)), path)
        yield str(path)

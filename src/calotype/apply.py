"""A finished run used on new inputs."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from omegaconf import OmegaConf
from torch import Tensor

from calotype.applied import Inputs, load_for, look_for, targets_in
from calotype.building import build
from calotype.console import printable
from calotype.datasets.image_file import read_image
from calotype.datasets.image_folder import images_in, is_of_a_system
from calotype.gallery import Gallery, NearestTemplates, locked
from calotype.metrics.decision import Decision
from calotype.places import expanded
from calotype.tiled import TILE_PIXELS, Given, paint
from calotype.types import DataSpec, OptionError, UserError

VERIFIERS = ("siamese", "facenet")
# True: the negative of every image; auto: of those that are unlike the training images and whose negative is like them.
Invert = bool | Literal["auto"]


class Verdict(NamedTuple):
    """Of two images."""

    same: bool
    distance: float
    threshold: float  # the same where the distance is at most this
    probability: float  # of the same, where that is as likely as not beforehand
    note: str  # what was done to the images to compare them, or nothing


class Match(NamedTuple):
    """Of a probe: the nearest template."""

    image: str
    name: str | None  # None: not recognized
    distance: float
    threshold: float  # recognized below it


def classify(
    run_dir: str | Path, images: Sequence[str | Path], *, top: int = 1, invert: Invert = False
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """For each image file its path and the `top` likeliest (label, probability), the likeliest first.

    Images pass through the run's preprocessing, and are brought to its size where that leaves them at their own. Those
    that are unlike the training images are named on stderr.

    Args:
        invert: True takes the negative of every image; `auto` where that is like the training images, and the image is not.

    Raises:
        UserError: the run is no classifier, or a file is missing or no image (all are looked for before any is read).
    """
    cfg, module = load_for(run_dir, "classify", ("classification",))
    spec: DataSpec = module.spec
    if not 1 <= top <= len(spec.class_names):
        raise OptionError(f"--top {top}: the run knows {len(spec.class_names)} classes")
    look_for(images)
    inputs = Inputs(run_dir, build(cfg.data.preprocess), spec, invert=invert)
    for path in images:
        _, _, pixels = inputs(path)
        with torch.no_grad():
            probabilities = module(pixels[None].float() / 255).exp()[0]
        values, indices = probabilities.topk(top)
        yield str(path), [(spec.class_names[i], p) for i, p in zip(indices.tolist(), values.tolist(), strict=True)]


def verify(run_dir: str | Path, first: str | Path, second: str | Path, *, invert: Invert = False) -> Verdict:
    """Whether two images show the same, at the threshold and by the calibration of the run's validation data.

    Images that are unlike the training images are named on stderr.

    Args:
        invert: as for `classify`.

    Raises:
        UserError: the run judges no pairs or has no threshold, or a file is missing or no image.
    """
    verifier = Verifier(run_dir, "verify", invert=invert)
    look_for([first, second])
    embeddings, note = verifier.embed([first, second])
    with torch.no_grad():
        distance = verifier.module.distance(embeddings[:1], embeddings[1:])
    threshold = float(verifier.decision.threshold)
    probability = verifier.decision.probability(distance).item()
    return Verdict(distance.item() <= threshold, distance.item(), threshold, probability, note)


def enroll(
    run_dir: str | Path,
    people: Sequence[tuple[str, Sequence[Path]]],
    gallery: Path,
    *,
    fpir: float | None = None,
    invert: Invert = False,
) -> list[str]:
    """Add the images of people (name, files) to a gallery, which is made where there is none; lines that say what was done.

    Args:
        run_dir: of task facenet or siamese.
        people: each with one image or more; every image is a template.
        gallery: the file.
        fpir: the share of strangers' searches that may return anybody, 0 to 1; the gallery's own by default, 0.01 for a new one.
        invert: as for `classify`.

    Raises:
        UserError: an image cannot be read, or the gallery is damaged or another model's; the file is then as it was.
    """
    verifier = Verifier(run_dir, "enroll", invert=invert)
    if fpir is not None and not 0 < fpir < 1:
        raise OptionError(f"--fpir {fpir}: above 0 and below 1")
    for name, _ in people:
        if not name.strip() or printable(name) != name:
            raise UserError(f"{name}: a name must have printable characters alone")
    if gallery.exists():
        _gallery(verifier, gallery)  # refused before images are embedded
    look_for([image for _, images in people for image in images])
    added = [(name, verifier.embed(images)[0]) for name, images in people]

    told = []
    with locked(gallery):
        kept = _gallery(verifier, gallery) if gallery.exists() else Gallery(verifier.hash, 0.01)
        kept.fpir = fpir or kept.fpir
        before = Counter(kept.names)
        for (name, images), count in zip(people, kept.add(added), strict=True):
            there = f", after {before[name]} that were there" if before[name] else ""
            again = f"; {len(images) - count} left out, the same as one that was there" if count < len(images) else ""
            told.append(f"{name}\t{count} enrolled{there}{again}")
            before[name] += count
        told.append(_save(verifier, kept, gallery))
    return told


def remove(run_dir: str | Path, name: str, gallery: Path) -> list[str]:
    """Take a person out of a gallery; lines that say what was done. Raises UserError where nobody has that name."""
    verifier = Verifier(run_dir, "gallery remove")
    _gallery(verifier, gallery)  # a gallery that is missing or damaged is refused before there is a lock
    with locked(gallery):
        kept = _gallery(verifier, gallery)
        gone = kept.remove(name)
        if not gone:
            raise UserError(f"{gallery}: nobody is called {name}; it holds {', '.join(sorted(set(kept.names))[:20]) or 'nobody'}")
        return [f"{name}\t{gone} removed", _save(verifier, kept, gallery)]


def identify(run_dir: str | Path, images: Sequence[str | Path], gallery: Path, *, invert: Invert = False) -> Iterator[Match]:
    """For each image the person whose template is nearest, or nobody where that is not near enough.

    Args:
        invert: as for `classify`.

    Raises:
        UserError: an image cannot be read; the gallery is empty, damaged or another model's.
    """
    verifier = Verifier(run_dir, "identify", invert=invert)
    kept = _gallery(verifier, gallery)
    if not kept.names:
        raise UserError(f"{gallery}: nobody is enrolled; enroll somebody first")
    look_for(images)
    search = NearestTemplates(kept.templates) if verifier.by_squared_distance else None
    for path in images:
        embedding, _ = verifier.embed([path])
        if search is not None:
            near, number = search(embedding)
            distance, who = near.item(), int(number)
        else:
            with torch.no_grad():
                distances = torch.cat([verifier.module.distance(embedding, part) for part in kept.templates.split(65536)])
            distance, who = distances.min().item(), int(distances.argmin())
        yield Match(str(path), kept.names[who] if distance < kept.threshold else None, distance, kept.threshold)


def stylize(run_dir: str | Path, images: Sequence[str | Path], out: Path, *, tile_pixels: int = TILE_PIXELS) -> Iterator[str]:
    """Repaint image files, of any size, in the style that the run learned, as PNG files of the same names in `out`; their paths.

    Args:
        tile_pixels: larger images are painted in tiles of so many pixels, without a seam (see `calotype.tiled`).

    Raises:
        UserError: the run paints no pictures, a file is missing or no image, or two images would have the same name.
    """
    cfg, module = load_for(run_dir, "stylize", ("fast_style",))
    look_for(images)
    targets = targets_in(out, images)
    out.mkdir(parents=True, exist_ok=True)
    layout = getattr(torch, str(getattr(cfg.hardware.memory_format, "name", cfg.hardware.memory_format)))
    module = module.to(memory_format=layout)
    for path, target in zip(images, targets, strict=True):
        given = Given(read_image(expanded(path), 3))
        # In single precision on every machine: bfloat16 rounds tiles and the whole differently, by up to two grey levels.
        paint(module, module.network, given, target, tile_pixels=tile_pixels)
        yield str(target)


def people_in(folder: Path) -> list[tuple[str, list[Path]]]:
    """A folder for each person: names and their image files, in order.

    Raises:
        UserError: there is no such folder, nobody in it, or somebody without an image.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one that holds a folder for each person")
    people = []
    for sub in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and not is_of_a_system(p)):
        files, note = images_in(sub)
        if not files:
            raise UserError(f"{sub}: no images of that person{f' ({note})' if note else ''}; add one or remove the folder")
        people.append((sub.name, files))
    if not people:
        raise UserError(f"{folder}: no folders of people in it; make one for each person, named as the person")
    return people


class Verifier:
    """A run that tells distances, ready to be used.

    Raises:
        UserError: the run does not, or has no threshold.
    """

    def __init__(self, run_dir: str | Path, command: str, *, invert: Invert = False) -> None:
        self.cfg, self.module = load_for(run_dir, command, VERIFIERS)
        self.spec: DataSpec = self.module.spec
        self.decision: Decision = self.module.decision
        if not self.decision.known:
            raise UserError(
                f"{run_dir}: its checkpoint has no threshold, since no validation went before; train it with data.val_fraction above 0"
            )
        self.inputs = Inputs(run_dir, build(self.cfg.data.preprocess), self.spec, invert=invert)
        head = getattr(self.module, "head", None)
        self.by_squared_distance = head is None or head.gives == "distances"

    def embed(self, images: Sequence[str | Path]) -> tuple[Tensor, str]:
        """Embeddings (N, D), and a note where images were of unlike size, or not of the training images', and were resized."""
        read, made, fitted = zip(*map(self.inputs, images), strict=True)
        pixels = torch.stack(fitted)
        with torch.no_grad():
            embeddings = torch.cat([self.module(part.float() / 255) for part in pixels.split(64)])
        sizes = sorted({f"{image.shape[2]}x{image.shape[1]}" for image in read})
        height, width = self.spec.image_shape[1:]
        resized = len(sizes) > 1 or any(image.shape[1:] != (height, width) for image in made)
        return embeddings, f"sizes {' and '.join(sizes)} brought to {width}x{height}" if resized else ""

    @property
    def hash(self) -> str:
        """Of the weights and the preprocessing: what templates depend on."""
        digest = hashlib.sha256(json.dumps(OmegaConf.to_container(self.cfg.data.preprocess, resolve=True), sort_keys=True).encode())
        for name, value in sorted(self.module.state_dict().items()):
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
        return digest.hexdigest()


def _gallery(verifier: Verifier, path: Path) -> Gallery:
    kept = Gallery.load(path)
    if kept.model != verifier.hash:
        raise UserError(f"{path}: its templates are of another model; use the run that made it, or enroll into another file")
    return kept


def _save(verifier: Verifier, kept: Gallery, path: Path) -> str:
    """Fit the threshold to the size that the gallery has now, write it, say so."""
    kept.threshold, kept.resolved = verifier.decision.threshold_for(kept.fpir, len(kept.names))
    kept.save(path)
    people = len(set(kept.names))
    told = f"{path}: {people} people, {len(kept.names)} templates, threshold {kept.threshold:.4f} for FPIR {kept.fpir:g}"
    if not kept.resolved:
        told += " (stricter than validation's impostor pairs can tell: the nearest of them is the limit)"
    return told

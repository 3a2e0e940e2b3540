"""Photographed faces, one folder an identity (ORL, LFW) or one array (Olivetti)."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch

from calotype.datasets.image_folder import image_folder
from calotype.datasets.joblib_array import read_array
from calotype.ranges import Positive
from calotype.types import Source, UserError


def orl(root: str) -> Source:
    """AT&T (ORL) faces: 40 people, 10 grey images each of 92x112 (width x height), in `root/orl/s1` to `s40`."""
    return image_folder(str(_find(root, ("orl", "att_faces"), "the AT&T (ORL) faces, folders s1 to s40")), name="orl", channels=1)


def lfw(root: str, *, min_images: Positive = 20) -> Source:
    """Labeled Faces in the Wild, colour 250x250, in `root/lfw/<Person_Name>/`.

    Args:
        root: the folder that holds `lfw`.
        min_images: people with fewer images are left out.

    Source: Huang et al., "Labeled Faces in the Wild", 2007; the aligned (funneled) versions are the usual ones.
    """
    folder = _find(root, ("lfw", "lfw-deepfunneled", "lfw_funneled"), "Labeled Faces in the Wild, a folder for each person")
    return image_folder(str(folder), name="lfw", min_images=min_images)


def olivetti(root: str, *, download: bool = True) -> Source:
    """Olivetti faces as scikit-learn keeps them: 40 people, 10 grey images each of 64x64.

    scikit-learn would unpickle `root/olivetti_py3.pkz`, which executes whatever is in it; here its array alone is read.

    Raises:
        UserError: the file is missing and could not be fetched, or is another one.
    """
    path = Path(root) / "olivetti_py3.pkz"
    if not path.is_file():
        _fetch_olivetti(root, download)
    faces = read_array(path, (400, 64 * 64)).astype(np.float32)

    # One byte of precision, spread over [0, 1] as scikit-learn does; the file keeps columns, as MATLAB does.
    faces = (faces - faces.min()) / max(float(faces.max() - faces.min()), 1e-12)
    pixels = torch.from_numpy(faces.reshape(400, 64, 64).transpose(0, 2, 1).copy())
    images = pixels.mul(255).round().to(torch.uint8)[:, None]
    labels = torch.arange(400) // 10
    return Source(name="olivetti", items=images, channels=1, labels=labels, class_names=tuple(f"s{i + 1}" for i in range(40)))


def _fetch_olivetti(root: str, download: bool) -> None:
    """Let scikit-learn download the original, whose checksum it compares, and write its file."""
    from sklearn.datasets import fetch_olivetti_faces

    try:
        fetch_olivetti_faces(data_home=root, download_if_missing=download)
    except (OSError, URLError) as error:
        raise UserError(f"dataset=olivetti is not in {root} and could not be fetched ({error}); put olivetti_py3.pkz there") from None


def _find(root: str, names: tuple[str, ...], what: str) -> Path:
    for name in names:
        if (Path(root) / name).is_dir():
            return Path(root) / name
    raise UserError(f"dataset={names[0]}: no folder {Path(root) / names[0]}; put {what} there, or set CALOTYPE_DATA or dataset.root")

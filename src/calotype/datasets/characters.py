"""Written characters: scikit-learn's 8x8 digits, MNIST, Fashion-MNIST (drawn alike), Omniglot."""

from __future__ import annotations

import math
import os
from pathlib import Path
from urllib.error import URLError

import torch

from calotype.datasets.image_folder import image_folder
from calotype.images import check_file
from calotype.types import Source, UserError, holding

SIDE = 28  # pixels of MNIST and of what is stored alike


@holding()
def digits() -> Source:
    """1797 scans of hand-written digits, 8x8 with 17 levels; they come with scikit-learn, nothing is fetched."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(data.images).mul(255 / 16).round().to(torch.uint8)[:, None]
    names = tuple(str(name) for name in data.target_names)
    return Source(name="digits", items=images, channels=1, labels=torch.from_numpy(data.target).long(), class_names=names)


def mnist(root: str, *, download: bool = True) -> Source:
    """MNIST: 60000 and (the official test set) 10000 digits, 28x28, through torchvision."""
    return _idx("MNIST", root, download, tuple("0123456789"))


def fashion_mnist(root: str, *, download: bool = True) -> Source:
    """Fashion-MNIST: 60000 and (the official test set) 10000 pieces of clothing, 28x28, through torchvision."""
    names = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")
    return _idx("FashionMNIST", root, download, names)


def omniglot(root: str, *, download: bool = True) -> Source:
    """Omniglot: hand-written characters, 20 drawings each, 105x105, ink black; a class is `alphabet/character`.

    Read from `root/omniglot/<alphabet>/<character>/` where that is, else through torchvision (background and evaluation
    alphabets together) in `root/omniglot-py`.
    """
    folder = Path(root) / "omniglot"
    if folder.is_dir():
        return image_folder(str(folder), name="omniglot", channels=1)
    from torchvision.datasets import Omniglot

    parts = []
    for background in (True, False):
        try:
            parts.append(Omniglot(root, background=background, download=download))
        except (RuntimeError, OSError, URLError) as error:
            raise UserError(_missing("omniglot", root, error)) from None
    files = {}
    for part in parts:
        for character in sorted(part._characters):
            files[character] = sorted((Path(part.target_folder) / character).glob("*.png"))
    return Source(
        name="omniglot",
        items=[path for paths in files.values() for path in paths],
        channels=1,
        labels=torch.tensor([i for i, paths in enumerate(files.values()) for _ in paths]),
        class_names=tuple(files),
        root=Path(root) / "omniglot-py",
    )


def _idx(kind: str, root: str, download: bool, names: tuple[str, ...]) -> Source:
    import torchvision.datasets

    _check_idx(Path(root) / kind / "raw")
    try:
        train, test = (getattr(torchvision.datasets, kind)(root, train=part, download=download) for part in (True, False))
    except (RuntimeError, OSError, URLError) as error:
        raise UserError(_missing(kind, root, error)) from None
    except (AssertionError, KeyError, ValueError) as error:
        raise UserError(f"{root}/{kind}/raw: damaged files ({error}); remove them and fetch them again") from None
    return Source(
        name="mnist" if kind == "MNIST" else "fashion_mnist",
        items=torch.cat([train.data, test.data])[:, None],
        channels=1,
        labels=torch.cat([train.targets, test.targets]).long(),
        class_names=names,
        test=torch.arange(len(train) + len(test)) >= len(train),
    )


def _check_idx(folder: Path) -> None:
    """Raise UserError for the file of the four, where it is there, that is not what its head says; torchvision names none.

    Source: http://yann.lecun.com/exdb/mnist, "file formats": two zero bytes, 8 for bytes, the dimensions, each of their sizes.
    """
    for part in ("train", "t10k"):
        for what, ndim in (("images", 3), ("labels", 1)):
            path = folder / f"{part}-{what}-idx{ndim}-ubyte"
            if not os.path.lexists(path):
                continue
            check_file(path, "a file of the data set")
            try:
                with path.open("rb") as file:
                    head = file.read(4 + 4 * ndim)
                    labels = file.read() if what == "labels" else b""
            except OSError as error:
                raise UserError(f"{path}: {error.strerror}") from None
            sizes = [int.from_bytes(head[i : i + 4], "big") for i in range(4, len(head), 4)]
            is_right = head[:4] == bytes([0, 0, 8, ndim]) and len(head) == 4 + 4 * ndim and sizes[1:] in ([], [SIDE, SIDE])
            if not is_right or path.stat().st_size != len(head) + math.prod(sizes):
                raise UserError(f"{path}: damaged (its size is not what its first bytes say); remove it and fetch it again")
            if labels and max(labels) > 9:
                raise UserError(f"{path}: damaged (a label is {max(labels)}, and 9 is the last); remove it and fetch it again")


def _missing(kind: str, root: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    return f"{kind} is not in {root} and was not fetched ({reason}); set CALOTYPE_DATA or dataset.root, or dataset.download=true"

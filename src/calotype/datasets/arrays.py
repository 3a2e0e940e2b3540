"""Images and labels in arrays of one file, NumPy's .npz or HDF5: what many data sets are given as."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from calotype.places import expanded
from calotype.types import Source, UserError

HDF5 = frozenset({".h5", ".hdf5", ".hdf", ".he5"})


def arrays(
    path: str,
    *,
    images: str = "images",
    labels: str | None = "labels",
    test_images: str | None = None,
    test_labels: str | None = None,
    layout: Literal["channels_last", "channels_first"] = "channels_last",
    class_names: Sequence[str] | None = None,
) -> Source:
    """Return the images of an array, kept in memory as uint8.

    Of 16 bits the upper 8 are kept (rounded), floats from 0 to 1 become 0 to 255, bools black and white.

    Args:
        path: a `.npz` file, or a `.h5` or `.hdf5` file, which takes the package h5py. Nothing in it is executed.
        images: name of the images, (N, H, W) or by `layout` (N, H, W, C) or (N, C, H, W); 1 or 3 channels.
        labels: name of the labels (N,), whole numbers or text; None for none. Where the file has no array `labels`
            under that default name, the images have none.
        test_images, test_labels: names of the official test set.
        layout: where channels stand.
        class_names: of the labels 0, 1, ...; by default the distinct labels in order.

    Raises:
        UserError: no such file or array, a damaged file, or arrays of other kinds; it names the file and the array.
    """
    if (test_images is None) != (test_labels is None) and (labels is not None or test_images is None):
        raise UserError("dataset.test_images, dataset.test_labels: give both, or none")
    file = expanded(path)
    with _opened(file) as found:
        has_labels = labels is not None and (labels in found or labels != "labels")
        parts = [_images(file, images, found, layout)]
        names = [_values(file, str(labels), found)] if has_labels else []
        if test_images is not None:
            parts.append(_images(file, test_images, found, layout))
            names += [_values(file, str(test_labels), found)] if has_labels else []

    for part, name, key in zip(parts, names, (labels, test_labels), strict=False):
        if name.shape != (len(part),):
            raise UserError(f"{file}: {key} is {name.shape}, and one label for each of {len(part)} images is needed")
    if len({part.shape[1:] for part in parts}) > 1:
        raise UserError(f"{file}: {images} and {test_images} hold images of different sizes")

    pixels = torch.cat(parts)
    numbers, class_texts = _classes(file, np.concatenate(names), class_names) if names else (None, ())
    return Source(
        name=file.stem,
        items=pixels,
        channels=pixels.shape[1],
        labels=numbers,
        class_names=class_texts,
        test=None if test_images is None else torch.arange(len(pixels)) >= len(parts[0]),
    )


@contextmanager
def _opened(file: Path) -> Iterator[Mapping[str, Any]]:
    """Give the arrays of a file by name, each read when asked for. What a damaged file makes its reader raise is the file's fault."""
    if not file.is_file():
        raise UserError(f"dataset.path={file}: no such file; give a .npz or .h5 file")
    try:
        if file.suffix.lower() in HDF5:
            with _hdf5(file) as found:
                yield found
        elif file.suffix.lower() == ".npz":
            if not zipfile.is_zipfile(file):
                raise UserError(f"{file}: damaged, or no .npz archive; store it by numpy.savez")
            with zipfile.ZipFile(file) as archive:
                yield _Npz(archive)
        else:
            raise UserError(f"dataset.path={file}: {file.suffix or 'a file without a suffix'}, and .npz, .h5 or .hdf5 is read")
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{file}: its arrays do not fit into memory; divide them") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        told = "objects of Python, which are not read; store plain arrays" if "allow_pickle" in reason else f"damaged ({reason})"
        raise UserError(f"{file}: {told}") from error


class _Npz(Mapping[str, np.ndarray]):
    """The arrays of a .npz file, each read to its end: a damaged head may ask for less, and the checksum is looked at last."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.names = [name.removesuffix(".npy") for name in archive.namelist()]

    def __getitem__(self, name: str) -> np.ndarray:
        with self.archive.open(f"{name}.npy") as stream:
            values = np.lib.format.read_array(stream, allow_pickle=False)
            if stream.read(1):
                raise ValueError(f"{name} has more bytes than numbers")
        return values

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@contextmanager
def _hdf5(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        import h5py
    except ImportError:
        raise UserError(f"dataset.path={file}: HDF5 takes the package h5py: pip install 'calotype[hdf5]', or store it as .npz") from None
    with h5py.File(file, "r") as found:
        yield found


def _values(file: Path, key: str, found: Mapping[str, Any]) -> np.ndarray:
    """Return an array; text as str, columns of one number flat."""
    if key not in found:
        names = ", ".join(sorted(map(str, found))[:8]) or "nothing"
        raise UserError(f"{file}: no array {key}; it holds {names}: dataset.images=NAME, dataset.labels=NAME")
    stored = found[key]
    if not hasattr(stored, "shape"):
        raise UserError(f"{file}: {key} is a group; give an array in it as {key}/NAME")
    # HDF5's text of any length; of .npz such an array is refused as it is read.
    is_text = getattr(stored.dtype, "kind", "") == "O"
    values = np.asarray(stored.asstr()[()]).astype(str) if is_text else np.asarray(stored[()])
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _images(file: Path, key: str, found: Mapping[str, Any], layout: str) -> Tensor:
    """Return uint8 (N, C, H, W)."""
    pixels = _values(file, key, found)
    if pixels.ndim == 4 and layout == "channels_last":
        pixels = np.moveaxis(pixels, 3, 1)
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels

    if pixels.ndim != 4 or 0 in pixels.shape or pixels.shape[1] not in (1, 3):
        shape = tuple(found[key].shape)
        wanted = "(N, H, W) or (N, H, W, C)" if layout == "channels_last" else "(N, H, W) or (N, C, H, W)"
        raise UserError(f"{file}: {key} is {shape}, and dataset.layout={layout} takes {wanted} with 1 or 3 channels")
    return torch.from_numpy(np.ascontiguousarray(_eight_bits(file, key, pixels)))


def _eight_bits(file: Path, key: str, pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    low, high = pixels.min() if pixels.dtype.kind in "uif" else 0, pixels.max() if pixels.dtype.kind in "uif" else 0
    if pixels.dtype.kind == "f" and 0 <= low <= high <= 1:
        return np.rint(pixels * 255).astype(np.uint8)
    if pixels.dtype == np.uint16:
        return np.rint(pixels / 257).astype(np.uint8)
    if pixels.dtype.kind in "ui" and 0 <= low <= high <= 255:
        return pixels.astype(np.uint8)
    raise UserError(
        f"{file}: {key} holds {pixels.dtype} from {low:g} to {high:g}; whole numbers of 8 or 16 bits or floats from 0 to 1 are read"
    )


def _classes(file: Path, values: np.ndarray, names: Sequence[str] | None) -> tuple[Tensor, tuple[str, ...]]:
    """Return labels (N,) and the names they count."""
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind not in "uiUb":
        raise UserError(f"{file}: labels of {values.dtype}; whole numbers or text are read")
    if names is None:
        distinct, numbers = np.unique(values, return_inverse=True)
        return torch.from_numpy(numbers.astype(np.int64).reshape(-1)), tuple(str(name) for name in distinct)
    if values.dtype.kind == "U":
        raise UserError(f"{file}: labels that are text name their classes themselves; leave dataset.class_names out")
    return torch.from_numpy(values.astype(np.int64)), tuple(map(str, names))

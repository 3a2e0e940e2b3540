"""Reads the one array of a file by `joblib.dump(array, file, compress=N)` without unpickling anything.

Such a file is a zlib stream: a pickle that describes the array, the array's bytes, and the pickle's last byte.
"""

from __future__ import annotations

import pickletools
import zlib
from pathlib import Path

import numpy as np

from calotype.types import UserError

HEADER_BYTES = 1024  # the description takes some 200
DTYPES = ("u1", "f4", "f8")


def read_array(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return the array of this shape, of bytes or floating-point numbers in C order.

    Raises:
        UserError: the file holds anything else.
    """
    count = shape[0] * shape[1]
    limit = HEADER_BYTES + 8 * count
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(path.read_bytes(), limit)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except zlib.error:
        raise UserError(f"{path}: {_no_array(shape)}") from None

    if not stream.eof:  # cut off, before the checksum it may be; or longer than such an array is
        raise UserError(f"{path}: {_no_array(shape)}")
    for code in DTYPES:
        dtype = np.dtype(code).newbyteorder("<")
        start = len(raw) - 1 - count * dtype.itemsize
        if 0 < start < HEADER_BYTES and _describes(raw[:start], code, shape):
            return np.frombuffer(raw, dtype, count, offset=start).reshape(shape)
    raise UserError(f"{path}: {_no_array(shape)}")


def _describes(header: bytes, code: str, shape: tuple[int, int]) -> bool:
    """Return whether the description is that of a little-endian array in C order; looks at its words, builds nothing."""
    words = []
    try:
        for _, word, _ in pickletools.genops(header):
            words.append(word)
    except ValueError:
        pass  # the padding after the description is no pickle
    order = "|" if code == "u1" else "<"
    return all(word in words for word in (code, order, "C", *shape))


def _no_array(shape: tuple[int, int]) -> str:
    return f"not the file that scikit-learn makes (one array of {shape[0]} x {shape[1]}); remove it and fetch it again"

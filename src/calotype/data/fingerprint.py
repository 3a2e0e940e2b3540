"""What a data set holds, in one number that tells whether two machines have the same."""

from __future__ import annotations

import hashlib

from torch import Tensor

from calotype.types import Source

READ = 256 * 2**20  # bytes of files that are read for it; of more, their names and sizes must do


def data_hash(source: Source) -> str:
    """SHA-256 of all values, or of all files' names and bytes.

    Where there are too many bytes to be read, names and sizes alone count, and `sizes-` stands before it.
    """
    digest = hashlib.sha256()
    if isinstance(source.items, Tensor):
        digest.update(f"{source.items.dtype}{tuple(source.items.shape)}".encode())
        digest.update(source.items.contiguous().numpy().data)
        return digest.hexdigest()
    sizes = [path.stat().st_size for path in source.items]
    whole = sum(sizes) <= READ
    for i, (path, size) in enumerate(zip(source.items, sizes, strict=True)):
        digest.update(f"{source.item_name(i)} {size}\n".encode(errors="surrogateescape"))  # names need not be UTF-8
        if whole:
            digest.update(path.read_bytes())
    return ("" if whole else "sizes-") + digest.hexdigest()

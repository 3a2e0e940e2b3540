"""The one place that reads what torch.save wrote: tensors and plain values, never objects."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from calotype.types import UserError


def load_weights(path: str | Path, *, key: str = "", map_location: Any = "cpu", is_checked: bool = False) -> Any:
    """Return the content of a file of weights or of a checkpoint; nothing in it is executed.

    Args:
        path: the file.
        key: of the config that names it, for the message.
        map_location: the device that the tensors go to.
        is_checked: a checksum of the whole file was compared already.

    Raises:
        UserError: the file cannot be read, or holds objects of other kinds.
    """
    where = f"{key}={path}" if key else str(path)
    if not is_checked and (record := _damaged_record(Path(path))):
        raise UserError(f"{where}: damaged: the checksum of {record} in it is not right; get the file again")
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch has many kinds of them
        raise UserError(f"{where}: not a file of weights that can be read ({type(error).__name__})") from None


def _damaged_record(path: Path) -> str:
    """The first record of a ZIP archive whose bytes have another CRC-32 than it states, which torch.load does not look at.

    "" where all are right, where none is (torch can be told to write none), and of what is no archive.
    """
    damaged = []
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            for record in records:
                try:
                    with archive.open(record) as file:
                        while file.read(2**20):
                            pass
                except Exception:  # zipfile has many kinds of them, too
                    damaged.append(record.filename)
    except (OSError, zipfile.BadZipFile):
        return ""
    return damaged[0] if 0 < len(damaged) < len(records) else ""

"""The one place that reads what torch.save wrote: tensors and plain values, never objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from calotype.types import UserError


def load_weights(path: str | Path, *, key: str = "", map_location: Any = "cpu") -> Any:
    """Return the content of a file of weights or of a checkpoint; nothing in it is executed.

    Args:
        path: the file.
        key: of the config that names it, for the message.
        map_location: the device that the tensors go to.

    Raises:
        UserError: the file cannot be read, or holds objects of other kinds.
    """
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch has many kinds of them
        where = f"{key}={path}" if key else str(path)
        raise UserError(f"{where}: not a file of weights that can be read ({type(error).__name__})") from None

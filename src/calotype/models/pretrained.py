"""Where pretrained weights come from: their source, a checkpoint that holds them anyway, or a copy in the run folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch

from calotype.weights import load_weights

State = Mapping[str, Any]
HUB = "weights"  # folder below the data folder that `calotype fetch` fills

_copies: ContextVar[Path | None] = ContextVar("copies", default=None)
_is_needed: ContextVar[bool] = ContextVar("is_needed", default=True)


def obtain(key: str, read: Callable[[], State]) -> State | None:
    """The weights that `read` gives; None where a checkpoint will bring them, and the network is built without.

    Args:
        key: names the weights, "vgg16-imagenet"; of the file that keeps a copy of them.
        read: from a package, a file or a download; raises UserError where there are none.
    """
    folder = _copies.get()
    copy = folder / f"{key}.pt" if folder is not None else None
    if copy is not None and copy.is_file():
        return load_weights(copy)
    if not _is_needed.get():
        return None

    state = read()
    if copy is not None:
        copy.parent.mkdir(parents=True, exist_ok=True)
        partial = copy.with_name(f"{copy.name}.{os.getpid()}.part")
        torch.save(dict(state), partial)
        os.replace(partial, copy)
    return state


@contextlib.contextmanager
def from_checkpoint() -> Iterator[None]:
    """Within it, networks are built without their pretrained weights: a checkpoint holds them."""
    token = _is_needed.set(False)
    try:
        yield
    finally:
        _is_needed.reset(token)


@contextlib.contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Within it, pretrained weights are read from `folder`, and those that are not there yet are copied into it."""
    token = _copies.set(folder)
    try:
        yield
    finally:
        _copies.reset(token)


@contextlib.contextmanager
def downloads_in(data_dir: Path, *, create: bool = False) -> Iterator[None]:
    """Within it, torch.hub keeps its downloads in `data_dir`/weights, where that exists and TORCH_HOME does not rule."""
    folder = data_dir / HUB
    if "TORCH_HOME" in os.environ or not (create or folder.is_dir()):
        yield
        return
    before = torch.hub.get_dir()
    folder.mkdir(parents=True, exist_ok=True)
    torch.hub.set_dir(str(folder))
    try:
        yield
    finally:
        torch.hub.set_dir(before)
        with contextlib.suppress(OSError):
            folder.rmdir()  # where nothing was downloaded

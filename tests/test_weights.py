"""Files of weights are read as tensors and plain values; a pickle in one is never executed."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from calotype.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from calotype.models.pretrained import kept_in, obtain
from calotype.models.torchvision_classifier import TorchvisionClassifier
from calotype.models.vgg import VGG
from calotype.types import UserError
from calotype.weights import load_weights


class Touch:
    """Unpickling it makes a folder."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


READERS: dict[str, Callable[[Path], object]] = {
    "weights": load_weights,
    "torchvision": lambda path: TorchvisionClassifier((3, 64, 64), 5, weights=str(path)),
    "vgg": lambda path: VGG(weights=str(path)),
    "checkpoint": read_checkpoint,
    "copy": lambda path: obtain(path.stem, dict),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("write", ["torch", "pickle", "old"])
def test_a_pickle_is_not_executed(reader: str, write: str, tmp_path: Path) -> None:
    path, evil = tmp_path / "evil.pt", {"weight": torch.zeros(2), "evil": Touch()}
    if reader == "checkpoint":  # with the right checksum, which anybody can compute
        AtomicCheckpointIO().save_checkpoint(evil, path)
    elif write == "pickle":
        path.write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=write == "torch")

    with kept_in(tmp_path), pytest.raises(UserError, match=r"evil.pt: not a file of weights that can be read \("):
        READERS[reader](path)
    assert not Path("executed").exists()

    if write == "pickle" and reader != "checkpoint":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert Path("executed").exists()  # the attack works

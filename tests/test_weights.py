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


def test_a_bit_that_flipped_in_a_tensor_is_told(tmp_path: Path) -> None:
    """torch.load gives other numbers without a word; a file without checksums is read as ever."""
    path, state = tmp_path / "w.pth", {"a": torch.arange(1000.0), "b": torch.zeros(3)}
    torch.save(state, path)
    assert torch.equal(load_weights(path)["a"], state["a"])
    whole = path.read_bytes()
    place = whole.index(state["a"][500:520].numpy().tobytes())
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert not torch.equal(torch.load(path, weights_only=True)["a"], state["a"])
    with pytest.raises(UserError, match=r"w.pth: damaged: the checksum of w/data/\d in it is not right; get the file again$"):
        load_weights(path)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(load_weights(path)["a"], state["a"])

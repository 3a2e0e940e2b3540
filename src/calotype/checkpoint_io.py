"""Checkpoints: written atomically, with a checksum that is compared before anything of them is used."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from calotype.records import FORMAT
from calotype.types import UserError
from calotype.weights import load_weights

# A checkpoint is a ZIP archive; its comment, which ZIP readers pass over, holds the SHA-256 of all bytes before it.
MARK = b"calotype sha256 "
COMMENT_BYTES = len(MARK) + 64
FORMAT_KEY = "calotype_format"
OWN_FILES = ("best_model_path", "kth_best_model_path", "last_model_path")  # in the state of a ModelCheckpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file next to the checkpoint and renames it.

    Lightning's own writes to the system's temporary folder and moves: between two file systems that is a copy, which a
    kill or a full disk leaves cut short, in place of the checkpoint that was there.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{os.getpid()}.part")

        try:
            with partial.open("w+b") as file:
                torch.save({**checkpoint, FORMAT_KEY: FORMAT}, file)
                _append_checksum(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        checkpoint = read_checkpoint(Path(path), map_location=map_location)
        relocate(checkpoint, Path(path).resolve().parent)  # the run may have been moved
        return checkpoint


def read_checkpoint(path: Path, *, map_location: Any = "cpu") -> dict[str, Any]:
    """The content of a checkpoint of this format, whose checksum is right; executes nothing of it.

    Raises:
        UserError: the file is missing, damaged, foreign, or of another format.
    """
    try:
        is_whole = _has_right_checksum(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if not is_whole:
        raise UserError(f"{path}: damaged, or no checkpoint of Calotype's (its checksum is not right)")

    stored = load_weights(path, map_location=map_location, is_checked=True)
    if not isinstance(stored, dict) or stored.get(FORMAT_KEY) != FORMAT:
        found = stored.get(FORMAT_KEY, "none") if isinstance(stored, dict) else "none"
        raise UserError(f"{path}: a checkpoint of format {found}, and this version reads format {FORMAT}; train the run again")
    return stored


def first_good_checkpoint(folder: Path, names: tuple[str, ...]) -> tuple[Path | None, list[str]]:
    """The first of `names` (without suffix) in `folder` that can be used, and what is wrong with those before it.

    Raises:
        UserError: there are checkpoints, and none of them can be used.
    """
    faults = []
    for path in (folder / f"{name}.ckpt" for name in names):
        if not path.exists():
            continue
        try:
            read_checkpoint(path)
        except UserError as error:
            faults.append(str(error))
        else:
            return path, faults
    if faults:
        raise UserError(f"{faults[0]}; there is no other checkpoint to go on from")
    return None, []


def relocate(checkpoint: dict[str, Any], folder: Path) -> None:
    """Let the callbacks' states name `folder` as the place of the checkpoints, where the run lies now.

    ModelCheckpoint forgets its best score where it finds itself in another folder than before. It removes what it names as
    its earlier checkpoints, folders included.

    Raises:
        UserError: a state names a checkpoint elsewhere.
    """
    for state in checkpoint.get("callbacks", {}).values():
        before = state.get("dirpath") if isinstance(state, dict) else None
        if not before:
            continue
        for key, value in state.items():
            if isinstance(value, str):
                state[key] = _moved(value, before, str(folder))
            elif isinstance(value, dict):
                state[key] = {_moved(k, before, str(folder)): v for k, v in value.items()}

    for path in _checkpoints(checkpoint):
        if not os.path.normpath(path).startswith(str(folder) + os.sep):
            raise UserError(f"{folder}: a checkpoint in it is damaged (it names {path}, which lies elsewhere)")


def _checkpoints(checkpoint: dict[str, Any]) -> list[str]:
    """The files that the states of ModelCheckpoint name as theirs."""
    states = [state for state in checkpoint.get("callbacks", {}).values() if isinstance(state, dict)]
    single = [state.get(key) for state in states for key in OWN_FILES]
    several = [path for state in states for path in state.get("best_k_models") or {}]
    return [str(path) for path in (*single, *several) if path]


def _moved(path: str, before: str, now: str) -> str:
    return now + path[len(before) :] if path == before or path.startswith(before + os.sep) else path


def _append_checksum(file: Any) -> None:
    """Set the comment of the ZIP archive in `file`, which ends with an end record that has none."""
    file.seek(-2, os.SEEK_END)
    assert file.read(2) == b"\0\0", "torch.save leaves the archive's comment empty"
    file.seek(-2, os.SEEK_END)
    file.write(COMMENT_BYTES.to_bytes(2, "little"))
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0, os.SEEK_END)
    file.write(MARK + digest.encode())


def _has_right_checksum(path: Path) -> bool:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        left = path.stat().st_size - COMMENT_BYTES
        while left > 0:
            block = file.read(min(left, 1 << 20))
            if not block:
                return False
            digest.update(block)
            left -= len(block)
        return file.read() == MARK + digest.hexdigest().encode()

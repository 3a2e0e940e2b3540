"""The seal of a run that has ended: checksums in its run.json, by which a damaged file is found before it is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calotype.types import UserError

SEALED = ("config.yaml", "metrics.csv", "metrics.json")  # the files of a run that reports and later runs read
FILES = "files"  # in run.json: the SHA-256 of each of them
CHECKSUM = "checksum"  # in run.json: of all the rest of it


def sealed(record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the record of a run that has ended, with the checksums of its files and its own."""
    files = {name: file_hash(folder / name) for name in SEALED if (folder / name).is_file()}
    whole = {**unsealed(record), FILES: files}
    return {**whole, CHECKSUM: record_hash(whole)}


def unsealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record without its checksums: of a run that goes on."""
    return {key: value for key, value in record.items() if key not in (FILES, CHECKSUM)}


def check_seal(record: Mapping[str, Any], folder: Path) -> None:
    """Compare the files of a run with the checksums of its record; one without a seal is let pass.

    What changes a run (resuming it, a test that cuts it off) writes another status; the record's own checksum holds for
    a finished run.

    Raises:
        UserError: a file is missing or is not what it was when the run ended.
    """
    path = folder / "run.json"
    status = record.get("status")
    is_sealed = FILES in record or CHECKSUM in record
    if status == "finished" and is_sealed and record.get(CHECKSUM) != record_hash(record):
        raise UserError(f"{path}: damaged (its checksum is not right)")

    if status == "running":  # they change
        return
    for name, checksum in record.get(FILES, {}).items():
        if name not in SEALED or (name == "metrics.json" and status != "finished"):
            continue
        try:
            is_right = (folder / name).is_file() and file_hash(folder / name) == checksum
        except OSError as error:
            raise UserError(f"{folder / name}: damaged ({error.strerror})") from None
        if not is_right:
            told = "its checksum is not right" if (folder / name).is_file() else "it is missing, or no file"
            raise UserError(f"{folder / name}: damaged ({told})")


def record_hash(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record in canonical JSON, less its own checksum."""
    rest = {key: value for key, value in record.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

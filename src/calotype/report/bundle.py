"""A bundle for a bug report: what tells how a run went, without data, weights, paths, or names of people and machines."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from calotype.config_file import read_config
from calotype.records import read_json, read_metrics, read_record
from calotype.report.curves import read_curves
from calotype.report.redaction import Redactor
from calotype.types import UserError
from calotype.whole_file import whole_file

NOT_PASSED_ON = ("cwd", "host", "pid", "process_start", "files", "checksum")  # of run.json; the checksums are of other files
MAX_LOG = 2_000_000  # characters, the last ones: what ended a run is at the end
TIME = (1980, 1, 1, 0, 0, 0)  # of the files in the archive, so that the same run gives the same bytes


def write_bundle(folder: Path, path: Path) -> tuple[list[str], list[str]]:
    """Write run.json, config.yaml, run.log, metrics.json and metrics.csv of a run into one ZIP file.

    A file that cannot be read is left out, and what is damaged is named in the bundle: of such runs bugs are reported.

    Returns:
        The names of the files in it, and a line for each fault.

    Raises:
        UserError: `folder` holds no run.
        OSError: `path` cannot be written; what was there before is still there.
    """
    if not folder.is_dir() or not any((folder / name).is_file() for name in ("run.json", "config.yaml")):
        raise UserError(f"{folder}: not a run folder (it has neither run.json nor config.yaml)")
    texts, faults = _texts(folder)
    if faults:
        texts["FAULTS.txt"] = "\n".join(faults) + "\n"

    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(f"{path.stem}/{name}", TIME), text, zipfile.ZIP_DEFLATED)
    return sorted(texts), faults


def _texts(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return the redacted files by their names, and a line for each that is left out."""
    texts: dict[str, str] = {}
    faults: list[str] = []

    def read(reading: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return reading()
        except UserError as error:
            if str(error) not in faults:
                faults.append(str(error))
        return None

    record = read(lambda: read_json(folder / "run.json")) or {}
    read(lambda: read_record(folder))
    read(lambda: read_curves(folder))
    redactor = Redactor([record, {"cwd": str(folder.resolve().parent)}])
    if record:
        texts["run.json"] = _json(redactor, {key: value for key, value in record.items() if key not in NOT_PASSED_ON})

    if (config := read(lambda: read_config(folder / "config.yaml"))) is not None:
        texts["config.yaml"] = yaml.safe_dump(redactor.value(config), sort_keys=False)
    is_finished = record.get("status") == "finished" or os.path.lexists(folder / "metrics.json")
    if is_finished and (metrics := read(lambda: read_metrics(folder))) is not None:
        texts["metrics.json"] = _json(redactor, metrics)

    for name in ("run.log", "metrics.csv"):
        if (folder / name).is_file():
            text = (folder / name).read_bytes().decode("utf-8", "backslashreplace")
            texts[name] = "".join(redactor.text(line) for line in text[-MAX_LOG:].splitlines(keepends=True))
    return texts, [redactor.text(line) for line in faults]


def _json(redactor: Redactor, value: dict[str, Any]) -> str:
    return json.dumps(redactor.value(value), indent=2) + "\n"

"""Where a run that goes on, or is run again, may write: a run folder of somebody else's names places that its reader never chose."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from calotype.check import ConfigError
from calotype.places import expanded
from calotype.trust import is_all_trusted

# Keys of a logger and of a callback that name a place to write to.
PLACE = re.compile(r"(^|_)(dir|dirpath|path|directory|location|uri|file)$")
LOCAL = ("sqlite:///", "file://")  # how addresses of stores begin that are files
NOTHING = object()  # of an argument that is left out
DATA_KEYS = {"paths.data_dir", "dataset.root", "dataset.download"}
TRUST = "where you trust it, add --trust (calotype: trust=true)"


def confine(
    config: dict[str, Any], run_dir: Path, *, own: Mapping[str, Any], here: Path, typed: Iterable[str] = (), told: list[str]
) -> dict[str, Any]:
    """Return the config of a run with its places to write to inside its folder or the user's own.

    Args:
        config: of the run, plain values. Relative paths in it are relative to the current directory.
        run_dir: the run folder.
        own: `paths` of the user's own default config.
        here: the directory that `own` is relative to.
        typed: overrides of this command, whose keys are the user's choice.
        told: is given a line for each place that was changed.

    Raises:
        ConfigError: a callback or logger would write elsewhere by other means, or a link in the folder leads out of it.
    """
    if is_all_trusted():
        return config
    _refuse_links(run_dir)
    keys = {override.lstrip("+").partition("=")[0] for override in typed}
    own_output, own_data = ((here / expanded(str(own[key]))).resolve() for key in ("output_dir", "data_dir"))

    paths, dataset = dict(config["paths"]), config.get("dataset")
    output = Path(str(paths["output_dir"])).resolve()
    # A run lies in OUTPUT/task/name/start, and a job of a sweep in OUTPUT/sweeps/name/job.
    is_own = output in (own_output, *run_dir.resolve().parents[2:3])
    if not is_own and "paths.output_dir" not in keys:
        # Nobody chose the default: of a run that was moved it is the user's own.
        is_default = str(paths["output_dir"]) == str(own["output_dir"])
        paths["output_dir"] = str(own_output) if is_default else _changed("paths.output_dir", paths["output_dir"], str(own_output), told)

    # Reading data from anywhere is what the run is for; data that would be downloaded are written.
    if isinstance(dataset, dict) and dataset.get("download") is True and not DATA_KEYS & keys:
        root = Path(str(dataset.get("root"))).resolve()
        if not root.is_relative_to(own_data):
            dataset = {**dataset, "download": _changed("dataset.download", True, False, told)}
    allowed = (run_dir.resolve(), Path(str(paths["output_dir"])).resolve())
    return {
        **config,
        "paths": paths,
        "dataset": dataset,
        "logger": _parts("logger", config.get("logger"), keys, allowed, told),
        "callbacks": _parts("callbacks", config.get("callbacks"), keys, allowed, told),
    }


def _parts(group: str, nodes: Any, typed: set[str], allowed: tuple[Path, ...], told: list[str]) -> Any:
    if not isinstance(nodes, dict) or group in typed:
        return nodes
    return {name: _part(f"{group}.{name}", node, typed, allowed, told) for name, node in nodes.items()}


def _part(where: str, value: Any, typed: set[str], allowed: tuple[Path, ...], told: list[str]) -> Any:
    """Return a node, or what is in one, without places elsewhere."""
    if where in typed or value is None:
        return value
    if isinstance(value, dict):
        parts = {name: _part(f"{where}.{name}", one, typed, allowed, told) for name, one in value.items()}
        return {name: part for name, part in parts.items() if part is not NOTHING}
    if isinstance(value, list):
        return [_part(where, one, typed, allowed, told) for one in value]
    if not isinstance(value, str) or where.endswith("._target_"):
        return value

    if PLACE.search(where.rpartition(".")[2]):
        if _is_inside(value, allowed) or value == os.environ.get("MLFLOW_TRACKING_URI"):
            return value
        # A logger takes the run folder for nothing; a callback is given it.
        return _changed(where, value, NOTHING if where.startswith("logger.") else str(allowed[0] / "checkpoints"), told)
    if value.startswith(("/", "~", "\\")) or ".." in re.split(r"[/\\]", value):
        raise ConfigError(f"{where}={value[:60]}: a place outside of the run folder; {TRUST}")
    return value


def _is_inside(value: str, allowed: tuple[Path, ...]) -> bool:
    local = next((value.removeprefix(prefix) for prefix in LOCAL if value.startswith(prefix)), value)
    if "://" in local:
        return False
    place = expanded(local).resolve()
    return any(place.is_relative_to(folder) for folder in allowed)


def _refuse_links(run_dir: Path) -> None:
    """Raise ConfigError at a link that leads out of the run folder: what is written to it would be written there."""
    home = run_dir.resolve()
    for folder, folders, files in os.walk(home):
        for name in (*folders, *files):
            path = Path(folder) / name
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                raise ConfigError(f"{path}: a link to {os.readlink(path)[:60]}, outside of the run folder; remove it, or {TRUST}")


def _changed(key: str, before: Any, now: Any, told: list[str]) -> Any:
    shown = "the run folder" if now is NOTHING else str(now).lower() if isinstance(now, bool) else now
    told.append(f"calotype: {key}={before}: chosen by the run, not by you; taken is {shown} (trust=true or --trust keeps it)")
    return now

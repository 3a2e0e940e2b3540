"""Starts a run from the weights of another one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from calotype.checkpoint_io import read_checkpoint
from calotype.console import echo
from calotype.records import read_record
from calotype.types import UserError

MAX_NAMES = 8  # of tensors in a printed line; run.json has all


def take_weights(module: nn.Module, folder: Path, *, which: str) -> dict[str, Any]:
    """Copy the tensors of the networks in the run `folder` whose name and shape `module` has.

    Counters and thresholds of the task itself stay as they are.

    Args:
        which: the checkpoint, best or last; the other where it is missing.

    Returns:
        What was taken and what was not, for run.json.

    Raises:
        UserError: no such run, no checkpoint, or nothing in it fits.
    """
    read_record(folder)
    paths = [folder / "checkpoints" / f"{name}.ckpt" for name in (which, "last", "best")]
    path = next((one for one in paths if one.is_file()), None)
    if path is None:
        raise UserError(f"init_from={folder}: the run has no checkpoint")

    stored: Mapping[str, Tensor] = read_checkpoint(path)["state_dict"]
    own = {name: value for name, value in module.state_dict().items() if "." in name or _is_parameter(module, name)}
    fitting = {k: v for k, v in stored.items() if k in own and getattr(v, "shape", None) == own[k].shape}
    if not fitting:
        raise UserError(f"init_from={folder}: none of its {len(stored)} tensors fits this network")
    module.load_state_dict(fitting, strict=False)

    left = sorted(set(own) - set(fitting))
    unused = sorted(set(stored) - set(fitting))
    echo(f"init_from {folder}: {len(fitting)} of {len(own)} tensors taken from {path.name}")
    for title, names in (("not in it, as they were", left), ("in it, not used", unused)):
        if names:
            more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
            echo(f"  {title}: {', '.join(names[:MAX_NAMES])}{more}")
    return {"run": str(folder), "checkpoint": path.name, "taken": sorted(fitting), "left": left, "unused": unused}


def _is_parameter(module: nn.Module, name: str) -> bool:
    return name in dict(module.named_parameters(recurse=False))

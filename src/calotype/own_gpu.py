"""Of several GPUs one for each process of a sweep whose jobs run side by side."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import IO, Any

from hydra.core.hydra_config import HydraConfig

_held: dict[int, IO[str]] = {}  # kept open: the system gives the lock back when this process ends, however it ends


def devices(asked: Any, accelerator: str) -> Any:
    """For Lightning's Trainer: what is asked for; but for 1, under the joblib launcher, the number of a GPU of this process's own."""
    if asked != 1 or accelerator not in ("auto", "gpu", "cuda") or not _side_by_side():
        return asked
    import torch

    number = claim(torch.cuda.device_count()) if torch.cuda.device_count() > 1 else None
    return asked if number is None else [number]


def claim(count: int) -> int | None:
    """The first of so many GPUs that no other process holds, always the same of this process; None where all are held, or can not be."""
    with contextlib.suppress(ImportError):  # Windows has no fcntl
        import fcntl

        for number in (*_held, *range(count)):
            if number in _held:
                return number
            file = (Path(tempfile.gettempdir()) / f"calotype-gpu-{number}.lock").open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                continue
            _held[number] = file
            return number
    return None


def _side_by_side() -> bool:
    return HydraConfig.initialized() and str(HydraConfig.get().launcher._target_).endswith("JoblibLauncher")

"""Random generators in the checkpoint: a run that was killed goes on with the draws it would have made."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torch.distributed
from pytorch_lightning import Callback, LightningModule, Trainer


class GeneratorState(Callback):
    """Saves the states of Python's, NumPy's and torch's global generators, of every process, and restores them.

    Lightning's checkpoints hold none of them. They are put back when fitting starts, after everything is built; by
    `on_train_start` loaders have already drawn. Processes with rank above 0 get streams of their own, so that two of
    them do not augment alike.
    """

    def __init__(self) -> None:
        self._loaded: list[dict[str, Any]] | None = None

    def state_dict(self) -> dict[str, Any]:
        mine = _capture()
        if not torch.distributed.is_initialized():
            return {"processes": [mine]}
        states: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(states, mine)
        return {"processes": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict["processes"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rank = trainer.global_rank
        if self._loaded is not None and rank < len(self._loaded):
            _restore(self._loaded[rank])
            self._loaded = None
        elif rank > 0:
            torch.manual_seed(torch.initial_seed() + rank)


def _capture() -> dict[str, Any]:
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    state = {
        "python": random.getstate(),
        # As a tensor and plain numbers: checkpoints are loaded with weights_only=True.
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _restore(state: dict[str, Any]) -> None:
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())

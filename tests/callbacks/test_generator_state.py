from __future__ import annotations

import io
import random
from types import SimpleNamespace

import numpy as np
import torch

from calotype.callbacks.generator_state import GeneratorState


def draw() -> tuple[float, float, float, float]:
    return random.random(), np.random.rand(), float(np.random.randn()), torch.rand(()).item()


def test_draws_go_on_where_they_were() -> None:
    draw()
    np.random.randn()  # leaves a second normal waiting, part of NumPy's state
    file = io.BytesIO()
    torch.save(GeneratorState().state_dict(), file)
    want = draw()
    file.seek(0)
    callback = GeneratorState()
    callback.load_state_dict(torch.load(file, weights_only=True))
    callback.on_fit_start(SimpleNamespace(global_rank=0), None)  # type: ignore[arg-type]
    assert draw() == want


def test_processes_draw_their_own() -> None:
    draws = []
    for rank in (0, 1, 2):
        torch.manual_seed(5)
        GeneratorState().on_fit_start(SimpleNamespace(global_rank=rank), None)  # type: ignore[arg-type]
        draws.append(torch.rand(()).item())
    assert len(set(draws)) == 3

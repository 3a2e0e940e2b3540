from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import torch
from torch.optim.lr_scheduler import StepLR

from calotype.tasks.schedule import warmup_cosine, with_schedule
from calotype.types import UserError


def optimizer() -> torch.optim.Optimizer:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    return torch.optim.SGD([{"params": weights[:1], "lr": 1.0}, {"params": weights[1:], "lr": 0.1}])


def test_warmup_then_cosine_for_every_group() -> None:
    sgd = optimizer()
    scheduler = warmup_cosine(sgd, total_steps=20, warmup=0.2, final=0.1)
    rates = []
    for _ in range(20):
        rates.append([group["lr"] for group in sgd.param_groups])
        sgd.step()
        scheduler.step()
    first = [r[0] for r in rates]
    assert first[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert first[12] == pytest.approx(0.1 + 0.9 * 0.5)  # half way down
    assert all(a > b for a, b in pairwise(first[4:]))
    assert [r[1] for r in rates] == pytest.approx([0.1 * v for v in first])


def test_stepped_by_batch_or_by_epoch() -> None:
    assert with_schedule(optimizer(), None, 10) is not None
    assert with_schedule(optimizer(), partial(warmup_cosine, warmup=0.1), 10)["lr_scheduler"]["interval"] == "step"
    with pytest.raises(UserError, match=r"scheduler: .* trainer.max_epochs"):
        with_schedule(optimizer(), partial(warmup_cosine), float("inf"))
    assert with_schedule(optimizer(), partial(StepLR, step_size=2), 10)["lr_scheduler"]["interval"] == "epoch"

from __future__ import annotations

import pytest
import torch

from calotype.data import sampler as module
from calotype.data.sampler import EpochSampler


def drawn(sampler: EpochSampler) -> list[int]:
    return torch.cat(list(sampler)).tolist()


def test_order_follows_seed_and_epoch_alone() -> None:
    sampler = EpochSampler(range(100), batch_size=10, train=True, seed=1)
    first = drawn(sampler)
    torch.rand(7)  # the global generator plays no part
    assert drawn(sampler) == first
    sampler.set_epoch(1)
    second = drawn(sampler)
    assert second != first
    assert sorted(second) == sorted(first) == list(range(100))
    assert drawn(EpochSampler(range(100), batch_size=10, train=True, seed=2)) not in (first, second)


def test_lengths() -> None:
    train = EpochSampler(range(10), batch_size=4, train=True)
    assert [len(b) for b in train] == [4, 4]
    assert len(train) == 2
    test = EpochSampler(range(10), batch_size=4, train=False)
    assert [b.tolist() for b in test] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(test) == 3
    small = EpochSampler(range(3), batch_size=4, train=True)
    assert [len(b) for b in small] == [3]


def test_weights_balance() -> None:
    weights = torch.tensor([1 / 90] * 90 + [1 / 10] * 10, dtype=torch.double)
    chosen = torch.tensor(drawn(EpochSampler(range(100), batch_size=100, train=True, weights=weights)))
    assert 35 < int((chosen >= 90).sum()) < 65


@pytest.mark.parametrize("n", [16, 17])
def test_processes_share_the_same_order(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    whole = drawn(EpochSampler(range(n), batch_size=8, train=True))
    parts, tests = [], []
    for rank in (0, 1):
        monkeypatch.setattr(module, "processes", lambda rank=rank: (rank, 2))
        parts.append(list(EpochSampler(range(n), batch_size=4, train=True)))
        tests.append(drawn(EpochSampler(range(n), batch_size=4, train=False)))
    # A step of two processes with half the batch sees what one process sees.
    for step in range(2):
        assert sorted([*parts[0][step].tolist(), *parts[1][step].tolist()]) == sorted(whole[step * 8 : step * 8 + 8])
    assert len(tests[0]) == len(tests[1])
    assert set(tests[0]) | set(tests[1]) == set(range(n))

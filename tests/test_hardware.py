"""Strategies of several processes, and how long they wait for one another."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import calotype
from calotype.hardware import strategy, timed_out
from calotype.runner import compose_config
from calotype.schema import config_hash
from calotype.types import UserError
from helpers import FAST


def hardware(**given: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto", "timeout": 7.0, **given})


AUTOMATIC, MANUAL = SimpleNamespace(automatic_optimization=True), SimpleNamespace(automatic_optimization=False)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"strategy": "ddp"}, "DDPStrategy"),
        ({"strategy": "ddp_spawn"}, "DDPStrategy"),
        ({"strategy": "fsdp"}, "FSDPStrategy"),
        ({"num_nodes": 2}, "DDPStrategy"),
        ({"devices": 2}, "DDPStrategy"),
        ({"devices": [0, 1]}, "DDPStrategy"),
    ],
)
def test_processes_wait_as_long_as_they_are_told(given: dict[str, Any], kind: str) -> None:
    made = strategy(hardware(**given), AUTOMATIC)
    assert type(made).__name__ == kind
    assert made._timeout == timedelta(seconds=7)


def test_networks_that_are_stepped_in_turn_are_looked_for() -> None:
    for given in ({"strategy": "ddp"}, {"devices": 2}):
        assert strategy(hardware(**given), MANUAL)._ddp_kwargs == {"find_unused_parameters": True}
        assert strategy(hardware(**given), AUTOMATIC)._ddp_kwargs == {}


@pytest.mark.parametrize("given", [{}, {"devices": "auto"}, {"devices": "1"}, {"strategy": "single_device"}, {"strategy": "nonsense"}])
def test_one_process_waits_for_nobody(given: dict[str, Any]) -> None:
    assert strategy(hardware(**given), AUTOMATIC) == given.get("strategy", "auto")


def test_a_time_that_is_none() -> None:
    with pytest.raises(UserError, match=r"hardware.timeout=0: must be a number of seconds > 0"):
        strategy(hardware(strategy="ddp", timeout=0), AUTOMATIC)


@pytest.mark.slow
@pytest.mark.xdist_group("ddp")
def test_a_node_that_does_not_come(tmp_path: Path) -> None:
    """One line that says how many nodes were awaited for how long."""
    two = ["hardware=ddp_cpu", "hardware.devices=1", "hardware.num_nodes=2", "hardware.timeout=2"]
    with pytest.raises(UserError) as told:
        calotype.run([*FAST, *two, f"hydra.run.dir={tmp_path}/run"])
    assert str(told.value).startswith("hardware.num_nodes=2: the processes of 2 nodes were awaited for 2 s in vain (1 of 2 ")
    assert "hardware.timeout" in str(told.value)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"
    assert not torch.distributed.is_initialized()
    torch.set_num_threads(1)

    # The next run of this process finds its own second process, which counts groups from 0.
    run = calotype.run([*FAST, "hardware=ddp_cpu", "hardware.timeout=60", f"hydra.run.dir={tmp_path}/next"])
    torch.set_num_threads(1)
    assert run.metrics


def test_a_process_that_stays_away_from_a_collective() -> None:
    gloo = RuntimeError("[../third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 3000ms for recv operation")
    assert "awaited for 7 s in vain; start" in str(timed_out(gloo, hardware(num_nodes=2)))
    assert timed_out(RuntimeError("Application timeout caused pair closure"), hardware(num_nodes=2)) is not None
    assert timed_out(RuntimeError("Request timed out"), hardware()) is None  # of a download, say
    assert timed_out(ValueError("gloo timed out"), hardware()) is None


def test_how_long_they_wait_is_no_setting() -> None:
    assert config_hash(compose_config([])) == config_hash(compose_config(["hardware.timeout=3"]))

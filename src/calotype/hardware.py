"""What a run computes on: the precision that suits the device, a description of it, further processes and their traces."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from calotype.causes import causes
from calotype.types import UserError

# Set in the processes that Lightning starts, and not to be seen by the next run of this one.
PROCESS_VARIABLES = (
    "OMP_NUM_THREADS",
    "LOCAL_RANK",
    "NODE_RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "PL_GLOBAL_SEED",
    "PL_SEED_WORKERS",
)


def precision(asked: str, accelerator: str) -> Any:
    """`auto` is bf16-mixed where the device computes bfloat16 natively, else 32-true."""
    if asked != "auto":
        return asked
    import torch

    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        return "32-true"
    # torch has no public question for it; a version without these says no.
    native = [getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return "bf16-mixed" if any(native) else "32-true"


def strategy(hardware: Any, module: Any) -> Any:
    """Lightning's strategy; one of several processes waits `hardware.timeout` seconds for the others, at the start and later.

    Args:
        hardware: the config group.
        module: the LightningModule; ddp of networks that are stepped in turn has to look for those whose turn it is not.
    """
    from pytorch_lightning.strategies import StrategyRegistry

    name = hardware.strategy
    if name == "auto" and _has_several_processes(hardware):
        name = "ddp"  # as Lightning chooses
    if name == "ddp" and not module.automatic_optimization:
        name = "ddp_find_unused_parameters_true"
    if name not in StrategyRegistry:
        return name
    entry = StrategyRegistry[name]
    kind = entry["strategy"]
    parameters = {key for base in kind.__mro__ if "__init__" in vars(base) for key in inspect.signature(base).parameters}
    if "timeout" not in parameters:
        return name
    if hardware.timeout <= 0:
        raise UserError(f"hardware.timeout={hardware.timeout:g}: must be a number of seconds > 0")
    return kind(**{**entry["init_params"], "timeout": timedelta(seconds=hardware.timeout)})


def _has_several_processes(hardware: Any) -> bool:
    import torch

    devices = hardware.devices
    if hardware.num_nodes > 1:
        return True
    if isinstance(devices, int):
        return devices > 1 or (devices == -1 and torch.cuda.device_count() > 1)
    if devices in ("auto", "-1"):
        return hardware.accelerator not in ("cpu", "mps") and torch.cuda.device_count() > 1
    return not isinstance(devices, str) and len(devices) > 1


def timed_out(error: BaseException, hardware: Any) -> UserError | None:
    """Return the one line for processes that waited in vain for one another; None for another error."""
    for cause in causes(error):
        text = str(cause).lower()
        if isinstance(cause, RuntimeError) and ("timed out" in text or "timeout" in text) and _is_of_processes(cause, text):
            joined = re.search(r"(\d+)/(\d+) clients joined", text)
            count = f" ({joined[1]} of {joined[2]} processes came)" if joined else ""
            nodes = f"{hardware.num_nodes} node{'s' if hardware.num_nodes > 1 else ''}"
            return UserError(
                f"hardware.num_nodes={hardware.num_nodes}: the processes of {nodes} were awaited for {hardware.timeout:g} s in vain"
                f"{count}; start the run on every node, or raise hardware.timeout"
            )
    return None


def _is_of_processes(error: RuntimeError, text: str) -> bool:
    """Of torch.distributed: its own classes, and what gloo raises."""
    return type(error).__name__.startswith("Dist") or "gloo" in text or "nccl" in text or "pair closure" in text or "wait timeout" in text


def describe(trainer: Any) -> dict[str, Any]:
    import torch

    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    return {
        "device": str(device),
        "name": name,
        "processes": trainer.world_size,
        "strategy": type(trainer.strategy).__name__,
        "precision": str(trainer.precision),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
    }


def cpu_name() -> str:
    with contextlib.suppress(OSError):  # Linux; elsewhere the platform module knows
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _forget_processes() -> None:
    """Let the next run of this process join others as the first one did.

    torch numbers groups of processes, and a group that could not be made keeps its number: the processes of the next
    run would wait for one another under different names, for ever.
    """
    import torch.distributed

    if not torch.distributed.is_available():
        return
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    torch.distributed.distributed_c10d._world.group_count = 0


@contextlib.contextmanager
def own_processes(run_dir: Path, start: Any, hardware: Any) -> Iterator[None]:
    """Further processes run this run's saved config; Lightning would repeat this process's command line, sweep included.

    Raises:
        UserError: a process waited for others longer than `hardware.timeout`.
    """
    import torch.distributed

    launcher: Any = importlib.import_module("pytorch_lightning.strategies.launchers.subprocess_script")

    def command(*_: Any, **__: Any) -> list[str]:
        return [sys.executable, "-m", "calotype.runner", str(run_dir), json.dumps(start.to_plain())]

    saved = launcher._basic_subprocess_cmd, launcher._hydra_subprocess_cmd
    environment = {name: os.environ.get(name) for name in PROCESS_VARIABLES}
    threads = torch.get_num_threads()
    launcher._basic_subprocess_cmd = command
    launcher._hydra_subprocess_cmd = lambda local_rank: (command(), str(Path.cwd()))
    try:
        yield
    except Exception as error:
        told = timed_out(error, hardware)
        if told is None:
            raise
        raise told from error
    finally:
        launcher._basic_subprocess_cmd, launcher._hydra_subprocess_cmd = saved
        torch.set_num_threads(threads)
        if environment["LOCAL_RANK"] is None:
            _forget_processes()
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

"""The typed root of the configuration, where conf/ lies, and the hash that names a configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

HASH_LENGTH = 8


class Profiler(Enum):
    simple = "simple"
    advanced = "advanced"


class TestWith(Enum):
    best = "best"
    last = "last"


class MemoryFormat(Enum):
    contiguous_format = "contiguous_format"
    channels_last = "channels_last"


@dataclass
class TrainerConfig:
    max_epochs: int | None = 20
    max_steps: int = -1
    max_time: str | None = None
    limit_train_batches: Any = None
    limit_val_batches: Any = None
    limit_test_batches: Any = None
    check_val_every_n_epoch: int = 1
    log_every_n_steps: int = 10
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    profiler: Profiler | None = None
    detect_anomaly: bool = False


@dataclass
class HardwareConfig:
    accelerator: str = "auto"
    devices: Any = 1
    num_nodes: int = 1
    timeout: float = 1800
    strategy: str = "auto"
    precision: str = "auto"
    memory_format: MemoryFormat = MemoryFormat.channels_last
    num_threads: int | None = None
    sync_batchnorm: bool = False
    deterministic: bool = True


@dataclass
class PathsConfig:
    data_dir: str = "data"
    output_dir: str = "outputs"


@dataclass
class RootConfig:
    name: str = "default"
    seed: int = 0
    resume: str | None = None
    init_from: str | None = None
    dry_run: bool = False
    retry: bool = False
    fail_fast: bool = False
    test_with: TestWith = TestWith.best
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    task: Any = MISSING
    dataset: Any = None
    data: Any = MISSING
    model: Any = None
    loss: Any = None
    optimizer: Any = None
    scheduler: Any = None
    callbacks: Any = None
    logger: Any = None


def register() -> None:
    """Make the schema and the `${config_hash:}` resolver known to Hydra."""
    ConfigStore.instance().store(name="schema", node=RootConfig)
    OmegaConf.register_new_resolver("config_hash", lambda *, _root_: config_hash(_root_), replace=True)


def conf_dir() -> Path:
    """The folder of config groups: inside the package once installed, beside `src` in a checkout."""
    installed = Path(__file__).parent / "conf"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "conf"


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config in plain values, without Hydra's own node."""
    plain = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    resolved = OmegaConf.to_container(plain, resolve=True, enum_to_str=True)
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as they are typed, `loss.margin`."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def config_hash(cfg: DictConfig) -> str:
    """Of all that can change a figure: the resolved config less paths, loggers, worker counts and what starts a run."""
    plain = to_plain(cfg)
    paths = plain.pop("paths", {})
    for key in ("logger", "name", "resume", "dry_run", "retry", "fail_fast"):
        plain.pop(key, None)
    if plain.get("init_from") is None:
        plain.pop("init_from", None)
    plain.get("hardware", {}).pop("timeout", None)  # how long processes wait changes no figure
    data_dir = paths.get("data_dir", "")

    def neutral(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: neutral(v) for k, v in value.items() if k != "num_workers"}
        if isinstance(value, list):
            return [neutral(v) for v in value]
        # Where the data lies is a path too, though it stands in the data set's node.
        return "data_dir" + value[len(data_dir) :] if data_dir and isinstance(value, str) and value.startswith(data_dir) else value

    told = json.dumps(neutral(plain), sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:HASH_LENGTH]


register()  # here, and not by who composes: a sweep's worker process unpickles what is to be run and has nobody else to do it

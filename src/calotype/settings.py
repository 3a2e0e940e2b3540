"""Every key of the config that is no part, and what it must be; the defaults stand in conf/."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from calotype.ranges import Above0, Above0To1, Count, Positive, Processes, Seed, Share, describe

TAKEN_OUT = "given; it was taken out"
Batches = Count | Share | None  # so many, or a share of them
Interval = Positive | Above0To1 | None
# DD:HH:MM:SS
Duration = Annotated[str, Field(pattern=r"^\d{1,3}:\d{2}:\d{2}:\d{2}$", description="DD:HH:MM:SS")]
Devices = Annotated[str, Field(pattern=r"^(auto|-1|\d+(,\d+)*)$", description="auto, numbers as 0,1")]
# Of Lightning's those that every task computes in: with 64-true or bf16-true the images would have to be converted, too.
Precision = Literal["auto", "32-true", "32", "bf16-mixed", "bf16", "16-mixed", "16", 16, 32]


class Settings(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class TrainerSettings(Settings):
    """Of Lightning's Trainer."""

    max_epochs: Positive | Literal[-1] | None
    max_steps: Positive | Literal[-1]
    max_time: Duration | None
    min_epochs: Positive | None
    min_steps: Positive | None
    limit_train_batches: Batches
    limit_val_batches: Batches
    limit_test_batches: Batches
    check_val_every_n_epoch: Positive
    val_check_interval: Interval
    overfit_batches: Count | Share
    fast_dev_run: bool | Positive
    log_every_n_steps: Count
    accumulate_grad_batches: Positive
    gradient_clip_val: Above0 | None
    gradient_clip_algorithm: Literal["norm", "value"]
    profiler: Literal["simple", "advanced"] | None
    detect_anomaly: bool


class HardwareSettings(Settings):
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    devices: Processes | Literal[-1] | list[Count] | Devices
    num_nodes: Processes
    timeout: Above0
    strategy: str
    precision: Precision
    memory_format: Literal["contiguous_format", "channels_last"]
    num_threads: Processes | None
    sync_batchnorm: bool
    deterministic: bool


class PathSettings(Settings):
    data_dir: str
    output_dir: str


class RootSettings(Settings):
    """The whole config; the groups of parts, which are Any here, are compared with the signatures of what they name."""

    name: str
    seed: Seed
    resume: str | None
    init_from: str | None
    dry_run: bool
    trust: bool
    retry: bool
    fail_fast: bool
    test_with: Literal["best", "last"]
    max_megapixels: Above0
    trainer: TrainerSettings
    hardware: HardwareSettings
    paths: PathSettings
    task: Any = None
    dataset: Any = None
    data: Any = None
    model: Any = None
    loss: Any = None
    optimizer: Any = None
    scheduler: Any = None
    callbacks: Any = None
    logger: Any = None


def faults(config: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """What is wrong with the keys that are no parts: the key, what it must be ("" for one that does not exist), the words that fit."""
    try:
        RootSettings.model_validate(config)
    except ValidationError as error:
        for one in error.errors(include_url=False, include_input=False):
            yield _fault(one["type"], [str(part) for part in one["loc"]])


def _fault(kind: str, place: list[str]) -> tuple[str, str, list[str]]:
    if kind == "missing":
        return ".".join(place), TAKEN_OUT, []
    settings: type[Settings] = RootSettings
    for depth, name in enumerate(place):
        hints = typing.get_type_hints(settings, include_extras=True)
        if name not in hints:
            return ".".join(place[: depth + 1]), "", list(settings.model_fields)
        hint = hints[name]
        if not (isinstance(hint, type) and issubclass(hint, Settings)):
            choices = [
                str(c) for part in (hint, *typing.get_args(hint)) if typing.get_origin(part) is Literal for c in typing.get_args(part)
            ]
            return ".".join(place[: depth + 1]), describe(hint), choices
        settings = hint
    return ".".join(place), "a group with its own keys", []

"""Before a sweep's first job starts, every job's config is composed and checked."""

from __future__ import annotations

import sys
from typing import Any

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from calotype.check import ConfigError, check


class CheckEveryJob(Callback):
    """A Hydra callback. A sweeper that draws its jobs as it goes (a search) can not be looked ahead of, and is let pass."""

    def on_multirun_start(self, config: DictConfig, config_name: str | None = None, **kwargs: Any) -> None:
        sweeper = config.hydra.sweeper
        if not str(sweeper._target_).endswith(".BasicSweeper"):
            return
        swept = [f"{key}={value}" for key, value in (sweeper.params or {}).items()] + list(config.hydra.overrides.task)
        jobs = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(swept), None)[0]
        for number, job in enumerate(jobs):
            try:
                check(compose(config_name, [*config.hydra.overrides.hydra, *job], return_hydra_config=True))
            except (ConfigError, HydraException) as error:
                reason = str(error).splitlines()[0]
                # Hydra turns an exception of a callback into a warning, and would start the sweep.
                print(f"calotype: job {number} of {len(jobs)} ({' '.join(job)}): {reason}", file=sys.stderr, flush=True)
                raise SystemExit(2) from None

"""Searches with Optuna, persistent: what is known stays in the sweep's folder, and the same command goes on with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from calotype.console import echo
from calotype.records import read_metrics, read_record
from calotype.run_folder import locked, write_text
from calotype.types import UserError

PRUNES = "CALOTYPE_TRIAL"  # the variable by which a run learns which trial it is; no part of its config, so its folder stays the same


class SearchSweeper(Sweeper):
    """Values that were typed as `a,b`, `choice(a,b)`, `range(1,9)`, `interval(0.1,1)` or `tag(log, interval(1e-4,1e-1))` are searched.

    A trial is a run; its objectives are figures of its metrics.json, or `wall_seconds`. A run that fails is a failed trial, and the search
    goes on. A trial that was cut off is put first in the queue again, and its run goes on from its last epoch.

    Args:
        metric: the figure, or several; of validation data, since it is chosen by.
        direction: maximize | minimize, one for each.
        n_trials: in all, those of earlier starts included.
        n_jobs: trials that are given to the launcher at once.
        seed: of the sampler.
        sampler: a class of optuna.samplers by name; the default is Optuna's own.
        pruner: a class of optuna.pruners by name, which stops bad trials by `metric` after each epoch; null for none.
        params: what is searched, as it would be typed.
    """

    def __init__(
        self,
        metric: str | Sequence[str],
        direction: str | Sequence[str],
        n_trials: int,
        n_jobs: int,
        seed: int,
        sampler: str,
        pruner: str | None,
        params: Any,
    ) -> None:
        self.metrics = [metric] if isinstance(metric, str) else list(metric)
        self.directions = [direction] if isinstance(direction, str) else list(direction)
        self.n_trials, self.n_jobs, self.seed = n_trials, n_jobs, seed
        self.sampler, self.pruner, self.params = sampler, pruner, params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config: Any = config
        self.hydra_context = hydra_context
        self.launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        self._optuna()
        typed = [f"{key}={value}" for key, value in (self.params or {}).items()] + list(arguments)
        parsed = OverridesParser.create().parse_overrides(typed)
        space = {str(one.key_or_group): _space(one) for one in parsed if one.is_sweep_override()}
        fixed = [str(one.input_line) for one in parsed if not one.is_sweep_override()]
        if not space:
            raise UserError("hydra/sweeper=search: nothing to search; give values such as optimizer.lr=tag(log,interval(1e-4,1e-1))")
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        # One process at a time knows which trials run; a second one waits, and finds all of them done.
        with locked(folder / ".search.lock", f"waiting for  the search in {folder}, which runs elsewhere"):
            OmegaConf.save(self.config, folder / "multirun.yaml")
            self._search(folder, space, fixed)

    def _search(self, folder: Path, space: dict[str, Any], fixed: list[str]) -> None:
        """Go on with the study in `folder` until it has all trials."""
        optuna = self._optuna()
        storage = f"sqlite:///{(folder / 'search.db').resolve()}"
        study = optuna.create_study(storage=storage, study_name="search", directions=self.directions, load_if_exists=True)
        kinds = optuna.trial.TrialState
        for trial in study.get_trials(states=(kinds.RUNNING,)):  # of a process that is gone
            study.tell(trial.number, state=kinds.FAIL)
            study.enqueue_trial(trial.params, user_attrs={"again": trial.number})
        done = len(study.get_trials(states=(kinds.COMPLETE, kinds.PRUNED)))
        # Another stream than that of the trials before, which would propose them again.
        study.sampler = getattr(optuna.samplers, self.sampler)(seed=self.seed + len(study.trials))
        study.pruner = getattr(optuna.pruners, self.pruner)() if self.pruner else optuna.pruners.NopPruner()
        echo(f"search in {folder}: {done} of {self.n_trials} trials are done")
        left = self.n_trials - done
        while left > 0:
            trials = [study.ask(space) for _ in range(min(self.n_jobs, left))]
            left -= len(trials)
            self._run(study, trials, fixed, storage)
        _tell_best(study, folder, self.metrics)

    def _run(self, study: Any, trials: Sequence[Any], fixed: list[str], storage: str) -> None:
        optuna = self._optuna()
        jobs = []
        for trial in trials:
            given = {"storage": storage, "trial": trial.number, "metric": self.metrics[0], "pruner": self.pruner}
            told = [f"++hydra.job.env_set.{PRUNES}='{json.dumps(given)}'"] if self.pruner else []
            jobs.append([*fixed, *(f"{key}={value}" for key, value in trial.params.items()), *told])
        for trial, result in zip(trials, self.launcher.launch(jobs, initial_job_idx=trials[0].number), strict=True):
            run = Path(result.hydra_cfg.hydra.runtime.output_dir) if result.hydra_cfg is not None else None
            values = None if run is None else _figures(run, self.metrics)
            if values is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                echo(f"trial {trial.number} failed: {_error(result)}")
            elif any(one.user_attrs.get("pruned") and one.params == trial.params for one in study.trials):  # or this is its run again
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                study.tell(trial, values)

    def _optuna(self) -> Any:
        try:
            import optuna
        except ImportError:
            raise UserError("hydra/sweeper=search: Optuna is not installed; pip install 'calotype[search]'") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if len(self.directions) != len(self.metrics):
            raise UserError(f"hydra.sweeper.direction={self.directions}: one for each of hydra.sweeper.metric={self.metrics}")
        if wrong := [one for one in self.directions if one not in ("maximize", "minimize")]:
            raise UserError(f"hydra.sweeper.direction={wrong[0]}: must be maximize | minimize")
        for key in ("n_trials", "n_jobs"):
            value = getattr(self, key)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"hydra.sweeper.{key}={value}: must be a whole number (>= 1)")
        if self.pruner and len(self.metrics) > 1:
            raise UserError("hydra.sweeper.pruner: trials of several metrics cannot be pruned; set it to null")
        for kind, name in (("samplers", self.sampler), ("pruners", self.pruner)):
            if name and not hasattr(getattr(optuna, kind), name):
                raise UserError(f"hydra.sweeper.{kind[:-1]}={name}: no such class in optuna.{kind}")
        return optuna


def _space(override: Override) -> Any:
    """The distribution of what was typed.

    Raises:
        UserError: an interval or range without anything in it.
    """
    try:
        return _distribution(override)
    except ValueError as error:
        raise UserError(f"{override.input_line}: {' '.join(str(error).split())[:120]}") from None


def _distribution(override: Override) -> Any:
    """Of what was typed: Optuna's categorical, float or integer."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    log = "log" in getattr(value, "tags", ())
    if override.is_choice_sweep():
        return CategoricalDistribution([override._get_value_element_as_str(one) for one in override.sweep_iterator()])
    if override.is_range_sweep():
        if isinstance(value.start, int) and isinstance(value.stop, int) and isinstance(value.step, int):
            return IntDistribution(value.start, value.stop - 1, step=value.step)
        return FloatDistribution(value.start, value.stop, step=value.step)
    return FloatDistribution(value.start, value.end, log=log)


def _figures(run: Path, metrics: Sequence[str]) -> list[float] | None:
    """None where the run gave none, or one that is not finite."""
    try:
        found = {**read_record(run), **read_metrics(run)}
    except UserError:
        return None
    for name in metrics:
        if name not in found:
            known = sorted(key for key, value in found.items() if isinstance(value, float))
            raise UserError(f"hydra.sweeper.metric={name}: the run in {run} has no such figure; there are: {', '.join(known)}")
    values = [found[name] for name in metrics]
    return None if None in values else [float(value) for value in values]


def _error(result: Any) -> str:
    try:
        return str(result.return_value)
    except Exception as error:
        return " ".join(str(error).split())


def _tell_best(study: Any, folder: Path, metrics: Sequence[str]) -> None:
    """The best trial, or those that no other beats in all metrics; and search.json with the same."""
    best = [
        {"trial": trial.number, **dict(zip(metrics, trial.values, strict=True)), "overrides": [f"{k}={v}" for k, v in trial.params.items()]}
        for trial in study.best_trials
    ]
    write_text(folder / "search.json", json.dumps(best, indent=2) + "\n")
    for one in best:
        figures = "  ".join(f"{name} {one[name]:.4f}" for name in metrics)
        echo(f"best  {figures}  {' '.join(one['overrides'])}")

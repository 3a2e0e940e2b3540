"""Stops a trial of a search that is worse than those before it."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from calotype.callbacks.run_state import end_training


class Prune(Callback):
    """Reports a figure to Optuna after each epoch and stops the training where its pruner says so; the run is tested all the same.

    Args:
        storage: URL of the study's data base.
        trial: its number.
        metric: as it is logged.
        pruner: a class of optuna.pruners.
    """

    def __init__(self, storage: str, trial: int, metric: str, pruner: str) -> None:
        import optuna

        study = optuna.load_study(storage=storage, study_name="search", pruner=getattr(optuna.pruners, pruner)())
        self.trial: Any = optuna.trial.Trial(study, study.trials[trial]._trial_id)
        self.metric = metric

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = trainer.callback_metrics.get(self.metric)
        if value is None:
            return
        self.trial.report(float(value), trainer.current_epoch)
        if self.trial.should_prune():
            self.trial.set_user_attr("pruned", True)
            end_training(pl_module, "pruned")

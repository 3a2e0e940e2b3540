"""Keys of the trainer that some tasks and models do not obey: each task declares its own, and `check.py` refuses them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# Groups of keys. A task says for each key that it does not obey what holds in its place.
LENGTH = ("max_epochs", "max_steps", "min_epochs", "min_steps")
VALIDATION = ("limit_val_batches", "check_val_every_n_epoch", "val_check_interval")
DESCENT = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "detect_anomaly")

# Values with which nothing is asked for.
OFF: dict[str, tuple[Any, ...]] = {
    "max_epochs": (None, -1),
    "max_steps": (-1,),
    "min_epochs": (None,),
    "min_steps": (None,),
    "limit_train_batches": (None,),
    "limit_val_batches": (None, 0),  # without any batch there is no validation, which every task obeys
    "limit_test_batches": (None, 0),
    "check_val_every_n_epoch": (1,),
    "val_check_interval": (None,),
    "log_every_n_steps": (10,),
    "accumulate_grad_batches": (1,),
    "gradient_clip_val": (None,),
    "gradient_clip_algorithm": ("norm",),
    "detect_anomaly": (False,),
    "overfit_batches": (0,),
}
# A preset (debug=fast, a recipe) may set the others for tasks of every kind; a training that has ended cannot go on.
ALWAYS_REFUSED = ("min_epochs", "min_steps")


def ignoring(keys: Iterable[str], reason: str) -> dict[str, str]:
    """Return the declaration that none of these keys is obeyed, for the same reason."""
    return dict.fromkeys(keys, reason)


ONE_PICTURE = ignoring(("overfit_batches",), "it is fitted to one picture, which is all of its batches")
NO_VALIDATION = ignoring(VALIDATION, "it has no validation")
# Of a model with `fit`.
FITTED = {
    **ignoring((*LENGTH, *DESCENT, "log_every_n_steps", "overfit_batches"), "its model is fitted at once, without steps"),
    **ignoring(("check_val_every_n_epoch", "val_check_interval"), "its model is fitted at once, and then validated"),
}
# Likewise, of a task whose model is given every training image, not the batches.
FITTED_TO_ALL = {
    **FITTED,
    **ignoring(("limit_train_batches",), "its model is fitted to all training images"),
}


def ignored_by(task: Any, model: Any) -> dict[str, str]:
    """Return the keys of the trainer that a task with this model (classes, or None) does not obey, each with the reason."""
    ignored = dict(getattr(task, "ignores", {}))
    if hasattr(model, "fit"):
        ignored |= getattr(task, "ignores_fitted", {})
    return ignored


def refused(task: Any, model: Any, trainer: Mapping[str, Any], typed: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the keys that ask for what a task does not do, each with a line that says why.

    Args:
        task, model: classes; a model may be None.
        trainer: the settings.
        typed: overrides; of what a preset sets, only the keys that no task could do without are refused.
    """
    keys = typed_keys(typed)
    name = task.__module__.rpartition(".")[2]
    for key, reason in ignored_by(task, model).items():
        value = trainer.get(key)
        fits_once = key == "max_epochs" and value == 1 and hasattr(model, "fit")
        if value in OFF.get(key, ()) or fits_once or not (key in keys or key in ALWAYS_REFUSED):
            continue
        shown = str(value).lower() if isinstance(value, bool) else value
        yield key, f"trainer.{key}={shown}: task={name} does not obey it, since {reason}; leave it out"


def contradictions(trainer: Mapping[str, Any], typed: Iterable[str]) -> Iterator[str]:
    """Yield a line for each typed key that another key makes void, whatever the task."""
    keys = typed_keys(typed)
    void: tuple[str, ...]
    for least, most in (("min_epochs", "max_epochs"), ("min_steps", "max_steps")):
        low, high = trainer[least], trainer[most]
        if least in keys and low is not None and high not in (None, -1) and low > high:
            yield f"trainer.{least}={low}: more than trainer.{most}={high}, which ends the training before; change one of them"
    if "overfit_batches" in keys and trainer["overfit_batches"]:
        void = ("limit_train_batches", "limit_val_batches")
        for key in (key for key in void if key in keys):
            yield f"trainer.{key}={trainer[key]}: trainer.overfit_batches sets it; leave one of them out"
    if "fast_dev_run" in keys and trainer["fast_dev_run"]:
        void = ("max_epochs", "limit_train_batches", "limit_val_batches", "limit_test_batches")
        for key in (key for key in void if key in keys):
            yield f"trainer.{key}={trainer[key]}: trainer.fast_dev_run sets it; leave one of them out"


def typed_keys(overrides: Iterable[str]) -> set[str]:
    """Return the keys of `trainer` among overrides, `trainer.max_epochs=3` and `trainer={max_epochs: 3}`."""
    found = set()
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key.startswith("trainer."):
            found.add(key.removeprefix("trainer."))
        elif key == "trainer":
            found |= set(re.findall(r"(\w+)\s*:", value))
    return found

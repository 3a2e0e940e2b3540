"""The loggers of a run, next to metrics.csv: built from its config, given its settings and its pictures, closed at its end."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from calotype.building import build, located
from calotype.console import echo
from calotype.run_folder import locked
from calotype.schema import flat
from calotype.types import UserError

PICTURES = (".png", ".jpg", ".gif")
EXTRAS = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}  # of pyproject.toml
SQLITE = "sqlite:///"

_open: list[list[tuple[str, Any]]] = []  # of the runs of this process, the innermost last: name and logger


def make_loggers(config: Mapping[str, Any], run_dir: Path, *, purge_from: int | None = None) -> list[Any]:
    """Build each logger of the config and log the whole config as its hyperparameters, by flat keys as they are typed.

    Args:
        config: of the run, resolved, in plain values; a logger never sees an OmegaConf object.
        run_dir: where a logger that takes `save_dir` writes.
        purge_from: the step from which a resumed run logs again; TensorBoard hides what it has of it.

    Raises:
        UserError: a logger cannot be built, or does not take what it is given.
    """
    loggers = []
    settings = flat({key: value for key, value in config.items() if key != "logger"})
    for name, node in (config.get("logger") or {}).items():
        try:
            is_tensorboard = str(node["_target_"]).endswith(".TensorBoardLogger")
            purge = {"purge_step": purge_from} if is_tensorboard and purge_from is not None else {}
            logger = _make({**node, **purge}, run_dir)
            _on_first_process(lambda logger=logger: logger.log_hyperparams(dict(settings)))
        except Exception as wrapped:
            error = wrapped.__cause__ or wrapped  # Hydra puts a line of its own around it
            extra = EXTRAS.get(str(node["_target_"]).rpartition(".")[2])
            hint = f"; pip install 'calotype[{extra}]'" if extra and isinstance(error, ImportError) else ""
            raise UserError(f"logger.{name}: {' '.join(str(error).split()) or type(error).__name__}{hint}") from error
        loggers.append(logger)
        if _open:
            _open[-1].append((name, logger))
    return loggers


@contextlib.contextmanager
def closed_loggers(run_dir: Path) -> Iterator[None]:
    """Close the loggers that are made meanwhile when the run ends, however it ends; the next run has its own.

    A logger that cannot be closed is a warning: the run itself is over.
    """
    _open.append([])
    status = "failed"
    try:
        yield
        status = "success"
    finally:
        for name, logger in _open.pop():
            try:
                _on_first_process(lambda logger=logger: _close(logger, status, run_dir))
            except Exception as error:
                message = " ".join(str(error).split()) or type(error).__name__
                echo(f"calotype: logger.{name}: {message}; the run itself is whole", error=True)


def _make(node: Mapping[str, Any], run_dir: Path) -> Any:
    given = dict(node)
    takes = inspect.signature(located(str(node["_target_"]))).parameters
    if "save_dir" in takes and given.get("save_dir") is None:
        given["save_dir"] = str(run_dir)
    if "tracking_uri" not in takes:
        return build(given)

    # MLflow's newest takes no folder of files for a store, which is what Lightning makes of null.
    address = given["tracking_uri"] = given.get("tracking_uri") or f"{SQLITE}{run_dir / 'mlflow.db'}"
    if not address.startswith(SQLITE):
        return build(given)
    store = Path(address.removeprefix(SQLITE)).absolute()
    store.parent.mkdir(parents=True, exist_ok=True)
    if "artifact_location" in takes and given.get("artifact_location") is None:
        given["artifact_location"] = (store.parent / "mlartifacts").as_uri()
    # The tables of a new store are made by one process: jobs of a sweep may start at once.
    with locked(store.with_name(f".{store.name}.lock")):
        logger = build(given)
        _on_first_process(lambda: logger.experiment)
    return logger


def _close(logger: Any, status: str, run_dir: Path) -> None:
    kind = type(logger).__name__
    for path in sorted(p for p in (run_dir / "images").glob("*") if p.suffix in PICTURES):
        _log_picture(logger, kind, path)
    logger.finalize(status)
    if kind == "WandbLogger":  # Lightning leaves its run open, and the next logger of the process would go on with it
        logger.experiment.finish(exit_code=int(status != "success"))


def _log_picture(logger: Any, kind: str, path: Path) -> None:
    """By the way of each service; a logger of somebody else's gets it where it has Lightning's `log_image`."""
    key = f"images/{path.stem}"
    if callable(getattr(logger, "log_image", None)):
        logger.log_image(key=key, images=[str(path)])
    elif kind == "TensorBoardLogger":
        import numpy as np

        from calotype.images import open_image

        with open_image(path) as image:
            logger.experiment.add_image(key, np.asarray(image.convert("RGB")), dataformats="HWC")
    elif kind == "MLFlowLogger":
        logger.experiment.log_artifact(logger.run_id, str(path), "images")
    elif kind == "CometLogger":
        logger.experiment.log_image(str(path), name=key)


def _on_first_process(act: Any) -> None:
    from pytorch_lightning.utilities import rank_zero_only

    rank_zero_only(act)()

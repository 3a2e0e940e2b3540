"""A checkpoint names no files outside its run folder: resuming removes what ModelCheckpoint takes for its earlier ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import calotype
from calotype.check import ConfigError
from calotype.checkpoint_io import relocate
from calotype.types import UserError
from helpers import FAST

ELSEWHERE = ("/elsewhere/valuable", "/run/checkpoints/../../valuable", "../valuable", "s3://bucket/x.ckpt", "/run/checkpoints_2/x.ckpt")


def state(**changes: Any) -> dict[str, Any]:
    paths = dict.fromkeys(("best_model_path", "kth_best_model_path", "last_model_path"), "/run/checkpoints/a.ckpt")
    return {"callbacks": {"ModelCheckpoint": {"dirpath": "/run/checkpoints", **paths, "best_k_models": {}, **changes}}}


@pytest.mark.parametrize("path", ELSEWHERE)
@pytest.mark.parametrize("key", ["best_model_path", "kth_best_model_path", "last_model_path", "best_k_models"])
def test_a_file_elsewhere(key: str, path: str) -> None:
    value: Any = {path: 0.0} if key == "best_k_models" else path
    for folder in ("/run/checkpoints", "/moved/checkpoints"):
        with pytest.raises(UserError, match="which lies elsewhere"):
            relocate(state(**{key: value}), Path(folder))
        without_folder = state(**{key: value})
        del without_folder["callbacks"]["ModelCheckpoint"]["dirpath"]
        with pytest.raises(UserError, match="which lies elsewhere"):
            relocate(without_folder, Path(folder))


def test_own_files_move_with_the_run() -> None:
    checkpoint = state(best_k_models={"/run/checkpoints/sub/b.ckpt": 1.0})
    relocate(checkpoint, Path("/moved/checkpoints"))
    found = checkpoint["callbacks"]["ModelCheckpoint"]
    assert found["last_model_path"] == "/moved/checkpoints/a.ckpt"
    assert found["best_k_models"] == {"/moved/checkpoints/sub/b.ckpt": 1.0}
    relocate({"callbacks": {"Other": {"patience": 3}, "EarlyStopping": None}}, Path("/x"))
    relocate({}, Path("/x"))


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/../../x"])
def test_the_name_of_a_checkpoint(name: str) -> None:
    with pytest.raises(ConfigError, match="must lie in the run folder"):
        calotype.run([*FAST, f"callbacks.best.filename={name}", "dry_run=true"])

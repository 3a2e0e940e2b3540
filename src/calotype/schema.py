"""Where conf/ lies, configs in plain values, and the hash that names one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from calotype.places import expanded

HASH_LENGTH = 8
AUTO = "auto"  # of a callback's monitor: the metric by which the task itself is judged
# Keys of trainer that came later: left as they are, they leave the hash as it was.
LATER = {
    "fast_dev_run": False,
    "val_check_interval": None,
    "min_epochs": None,
    "min_steps": None,
    "overfit_batches": 0,
    "gradient_clip_algorithm": "norm",
}


def register() -> None:
    """Make the resolvers `${config_hash:}` and `${expanded:PATH}`, which replaces `~`, known to Hydra."""
    OmegaConf.register_new_resolver("expanded", lambda path: str(expanded(str(path))), replace=True)
    OmegaConf.register_new_resolver("config_hash", lambda *, _root_: config_hash(_root_), replace=True)


def conf_dir() -> Path:
    """The folder of config groups: inside the package once installed, beside `src` in a checkout."""
    installed = Path(__file__).parent / "conf"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "conf"


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config in plain values, without Hydra's own node."""

    def value(key: str) -> Any:
        found = MISSING if OmegaConf.is_missing(cfg, key) else cfg[key]
        return OmegaConf.to_container(found, resolve=True, enum_to_str=True) if OmegaConf.is_config(found) else found

    return {str(key): value(str(key)) for key in cfg if key != "hydra"}


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
    for key in ("trainer", "hardware", "paths"):
        if not isinstance(plain.get(key), dict):
            plain[key] = {}  # the check tells of it, later
    paths = plain.pop("paths")
    for key in ("logger", "name", "resume", "dry_run", "trust", "retry", "fail_fast", "max_megapixels"):
        plain.pop(key, None)
    for key, default in LATER.items():
        if plain["trainer"].get(key) == default:
            plain["trainer"].pop(key, None)
    if plain.get("init_from") is None:
        plain.pop("init_from", None)
    # What earlier versions did not have keeps its hash while it is off: evidence still comes from its config.
    data = plain.get("data")
    preprocess = data.get("preprocess") if isinstance(data, dict) else None
    if isinstance(preprocess, dict) and preprocess.get("invert") is False:
        del preprocess["invert"]
    plain["hardware"].pop("timeout", None)  # how long processes wait changes no figure
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

"""Brings what a recipe downloads into the data folder, before it runs where there is no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calotype.building import build_data, build_task
from calotype.check import check
from calotype.compose import compose_config
from calotype.models.pretrained import HUB, downloads_in


def fetch(overrides: Sequence[str]) -> list[str]:
    """Build the data and the networks of a config, which downloads what is missing; lines that say what there is now.

    Data sets lie in `paths.data_dir`, weights in `weights` below it, where runs with the same `paths.data_dir` look for
    them.

    Raises:
        UserError: the config is wrong, or something could not be downloaded.
    """
    cfg = compose_config(overrides)
    check(cfg)
    folder = Path(cfg.paths.data_dir)
    before = _files(folder)

    with downloads_in(folder, create=True):
        datamodule = build_data(cfg)
        module = build_task(cfg, datamodule.spec)
        module.setup("fit")

    new = sorted(_files(folder) - before)
    lines = [f"fetched  {path}  {path.stat().st_size / 2**20:.1f} MB" for path in new]
    if not lines:
        lines = ["nothing to fetch: all that this config needs is there"]
    used = f"; weights in {folder / HUB}" if (folder / HUB).is_dir() else ""
    return [*lines, f"data folder  {folder.resolve()}{used}"]


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()} if folder.is_dir() else set()

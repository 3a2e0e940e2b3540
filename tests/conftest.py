"""Fixtures: small images on disk, real data where it is, runs in a scratch folder."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import calotype
from calotype.runner import Result

# Two test processes share two cores, also where they start others.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

SMALL = ("model.widths=[4,8]", "trainer.max_epochs=2", "hardware=cpu", "logger=none")


# Tests that start whole trainings or other processes; with the marked ones, they are what `-m "not slow"` leaves out.
SLOW = ("tests/tasks/", "tests/test_sweep", "tests/test_runner", "tests/test_battle", "tests/test_experiments",
        "tests/test_house.py::test_readme_commands_run", "tests/test_cli", "tests/test_reference", "tests/test_apply",
        "tests/fuzz/test_configs.py::test_no_traceback",
        "tests/metrics/test_generation.py::test_neighbour", "tests/test_config.py::test_every_part_of_a_recipe")  # fmt: skip


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker("slow")
        if shares_fixture(item) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def shares_fixture(item: pytest.Item) -> bool:
    """Whether other tests of its module share what it uses, a run as a rule, which one process then makes for all of them."""
    definitions = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009  (pytest has no public way to ask)
    return any(found[-1].scope == "module" and found[-1].baseid.endswith(".py") for found in definitions.values())


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs write below the test's own folder, data sets are looked for there; what is drawn does not depend on other tests."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CALOTYPE_DATA", raising=False)


@pytest.fixture
def small_run(tmp_path: Path) -> Callable[..., Result]:
    """A run of two epochs of a tiny network; more overrides come last and win."""
    count = iter(range(100))

    def run(*overrides: str) -> Result:
        return calotype.run([*SMALL, f"hydra.run.dir={tmp_path}/run{next(count)}", *overrides])

    return run


@pytest.fixture
def image_root(tmp_path: Path) -> Path:
    """12 images in each of two folders that a network can tell apart: dark ones and bright ones."""
    root = tmp_path / "pictures"
    rng = np.random.RandomState(0)
    for name, level in (("dark", 60), ("bright", 190)):
        (root / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(rng.normal(level, 20, (16, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root

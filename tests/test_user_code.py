"""What a run's record says of a user's own packages."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from calotype.rerun import _other_differences
from calotype.sweep import code_hash
from calotype.user_code import code_of, user_code, user_packages


def package(root: Path, name: str, text: str = "x = 1\n") -> Path:
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "__init__.py").write_text(text)
    return root / name


def test_every_target_that_is_not_ours_names_a_package() -> None:
    config = {
        "model": {"_target_": "mine.nets.Net", "block": {"_target_": "other.Block"}},
        "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True},
        "data": {"augment": [{"_target_": "listed.Augment"}, {"_target_": "functools.partial"}]},
        "task": {"_target_": "calotype.tasks.classification.Classification"},
        "logger": {"tensorboard": {"_target_": "pytorch_lightning.loggers.TensorBoardLogger"}},
    }
    assert user_packages(config) == {"mine", "other", "listed"}
    assert user_packages({"model": None}) == set()


def test_a_package_in_a_repository_and_one_in_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "repository"))
    monkeypatch.syspath_prepend(str(tmp_path / "loose"))
    tracked = package(tmp_path / "repository", "tracked_nets")
    package(tmp_path / "loose", "loose_nets")
    (tmp_path / "loose" / "one_file.py").write_text("y = 1\n")
    git = ["git", "-C", str(tmp_path / "repository"), "-c", "user.name=A", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    config = [{"_target_": f"{name}.Net"} for name in ("tracked_nets", "loose_nets", "one_file", "nowhere")]
    found = user_code(config)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert (found["tracked_nets"]["git_commit"], found["tracked_nets"]["git_dirty"]) == (head, False)
    assert found["loose_nets"]["git_commit"] is None
    assert found["loose_nets"]["hash"]
    assert found["one_file"]["hash"]
    assert found["nowhere"] == {"version": None, "git_commit": None, "git_dirty": None, "hash": None}
    (tmp_path / "repository" / "notes.txt").write_text("beside the package")
    assert user_code(config) == found
    before = code_hash(found)
    (tracked / "__init__.py").write_text("x = 2\n")
    now = user_code(config)
    assert now["tracked_nets"]["git_dirty"] is True
    assert now["tracked_nets"]["hash"] != found["tracked_nets"]["hash"]
    assert code_hash(found) != before
    (line,) = _other_differences({"user_code": found}, {"user_code": now})
    assert line.startswith("code of tracked_nets: ")


def test_an_installed_package_has_its_version() -> None:
    from importlib.metadata import version

    assert user_code({"_target_": "yaml.YAMLObject"})["yaml"]["version"] == version("pyyaml")
    assert code_of(["yaml"])["yaml"]

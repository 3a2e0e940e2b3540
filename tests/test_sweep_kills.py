"""A sweep whose main process is killed, by each launcher: the same command ends it, and it is as if nothing had happened."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from calotype.cli import main
from protocols.kill_sweeps import JOBS, LAUNCHERS, SWEPT, command, environment, faults_of_jobs, processes_of, table


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The table of an undisturbed sweep."""
    folder = tmp_path_factory.mktemp("whole")
    main(["-m", *SWEPT, f"hydra.sweep.dir={folder}"])
    return table(folder)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sweep_that_was_killed_ends_like_one_that_was_not(launcher: str, whole: str, tmp_path: Path) -> None:
    """Killed in the third epoch of the second job or so; repeated while orphaned workers may still be at it."""
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the extra `launchers` is not installed")
    folder = tmp_path / "s"
    with subprocess.Popen(command(launcher, folder), cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment(folder)) as process:
        assert process.stdout is not None
        epochs = 0
        for line in process.stdout:
            epochs += line.startswith("epoch 3/")
            if epochs == 2:
                process.kill()
                break
        process.stdout.close()
    done = subprocess.run(command(launcher, folder), cwd=tmp_path, capture_output=True, text=True, env=environment(folder))
    assert done.returncode == 0, done.stderr
    assert list(faults_of_jobs(folder)) == []
    assert len(list(folder.glob("*/metrics.json"))) == JOBS
    assert table(folder) == whole
    assert processes_of(folder) == []

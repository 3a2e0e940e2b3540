"""Jobs of a sweep: each resolves its own overrides, each runs once, and what fails or dies is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.config_store import ConfigStore

from calotype import cli, run_folder, sweep
from calotype.cli import main
from calotype.cli_report import rerun_main
from calotype.records import SWEEP, read_json
from calotype.run_folder import RunRecord, _process_start, locked, process, write_json
from calotype.runner import compose_config
from calotype.schema import config_hash
from helpers import FAST, table

COMMAND = [sys.executable, "-m", "calotype.cli"]
ONE_EPOCH = [*FAST, "trainer.max_epochs=1"]


def configs(folder: Path) -> dict[int, dict[str, object]]:
    """Of the runs below a folder by seed; all are finished."""
    found = {}
    for path in folder.rglob("run.json"):
        assert read_json(path)["status"] == "finished"
        found[read_json(path)["seed"]] = {**yaml.safe_load((path.parent / "config.yaml").read_text()), "folder": path.parent}
    return found


def test_an_override_that_refers_to_a_swept_key_is_resolved_by_each_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RATE", "0.25")
    refers = [
        "data.batch_size=${seed}",
        "name=run${seed}",
        "model.widths=[${seed},4]",
        "model.dropout='${oc.decode:${oc.env:RATE}}'",
        "data.positive=${oc.env:NOT_SET,'a class of its own'}",
        "data.positive=null",
        "data.split_seed='${data.batch_size}'",
        "optimizer.lr='${oc.decode:0.0${seed}}'",
    ]
    main(["-m", *ONE_EPOCH, *refers, "seed=7,8", "hydra.sweep.dir=s"])
    for seed, config in configs(tmp_path / "s").items():
        assert config["data"]["batch_size"] == config["data"]["split_seed"] == seed  # type: ignore[index]
        assert config["name"] == f"run{seed}"
        assert config["model"]["widths"] == [seed, 4]
        assert config["model"]["dropout"] == 0.25  # type: ignore[index]
        assert config["optimizer"]["lr"] == seed / 100  # type: ignore[index]
        typed = [*ONE_EPOCH, *refers, f"seed={seed}"]
        assert config["folder"].name == config_hash(compose_config(typed))  # type: ignore[attr-defined]
    assert sorted(configs(tmp_path / "s")) == [7, 8]
    note = read_json(tmp_path / "s" / SWEEP)
    assert "data.batch_size=${seed}" in note["command"]
    assert len(note["folders"]) == 2
    capsys.readouterr()
    main(["-m", *ONE_EPOCH, *refers, "seed=7,8", "hydra.sweep.dir=s"])
    assert "2 finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("where", "folders"),
    [
        (["hydra.sweep.dir=s", "hydra.sweep.subdir=job${hydra.job.num}/seed${seed}"], ["s/job0/seed1", "s/job1/seed2"]),
        (["hydra.sweep.dir='s/${seed}'"], ["s/1/HASH", "s/2/HASH"]),
        (["hydra.sweep.dir='s/${seed}'", "hydra.sweep.subdir='${name}'", "name='n${hydra:job.num}'"], ["s/1/n0", "s/2/n1"]),
    ],
)
def test_the_folder_of_a_job_may_depend_on_the_job(
    where: list[str], folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["-m", *ONE_EPOCH, "seed=1,2", *where])
    found = [config["folder"] for _, config in sorted(configs(tmp_path / "s").items())]
    hashes = [config_hash(compose_config([*ONE_EPOCH, f"seed={seed}"])) for seed in (1, 2)]
    assert found == [tmp_path / folder.replace("HASH", name) for folder, name in zip(folders, hashes, strict=True)]
    told = capsys.readouterr().out
    assert "test/accuracy" in told
    assert told.count("sweep folder") == len({Path(folder).parts[:2] for folder in folders}) if "${seed}" in where[0] else 1
    main(["-m", *ONE_EPOCH, "seed=1,2", *where])
    assert capsys.readouterr().out.count("finished before") == 2


def test_params_of_a_study_that_refer_to_a_swept_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "mine" / "study.yaml"
    study.parent.mkdir()
    params = {"seed": "5,6", "data.batch_size": "${seed}", "name": "run${seed}", "data.split_seed": "${trainer.max_epochs}"}
    config: dict[str, Any] = {"defaults": ["config", "_self_"], "hydra": {"mode": "MULTIRUN", "sweeper": {"params": params}}}
    study.write_text(yaml.safe_dump(config))
    command = ["--config-dir", "mine", "--config-name", "study", *ONE_EPOCH]
    main(command)
    found = configs(tmp_path / "outputs")
    assert {seed: config["data"]["batch_size"] for seed, config in found.items()} == {5: 5, 6: 6}  # type: ignore[index]
    assert {seed: config["name"] for seed, config in found.items()} == {5: "run5", 6: "run6"}
    assert {config["data"]["split_seed"] for config in found.values()} == {1}  # type: ignore[index]
    capsys.readouterr()
    main(command)
    assert "2 finished" in capsys.readouterr().out
    study.write_text(yaml.safe_dump({**config, "hydra": {**config["hydra"], "sweep": {"dir": "mine/runs"}}}))
    main([*command, "dry_run=true"])
    assert "in mine/runs: " in capsys.readouterr().out


def test_a_reference_that_only_one_job_cannot_follow_is_refused_before_the_first(
    tmp_path: Path, image_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folds").mkdir()
    image_root.rename(tmp_path / "folds" / "1")
    swept = ["-m", *ONE_EPOCH[1:], "dataset=image_folder", "data.preprocess.size=16", "dataset.root=folds/${seed}"]
    with pytest.raises(SystemExit) as left:
        main([*swept, "seed=1,2"])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("calotype: job 2 of 2 (")
    assert "folds/2" in line
    assert not list(tmp_path.rglob("run.json"))
    main([*swept, "seed=1"])
    assert configs(tmp_path / "outputs")[1]["dataset"]["root"] == "folds/1"  # type: ignore[index]


def test_fail_fast_stops_at_a_fault_of_the_programs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr("calotype.tasks.classification.Classification.on_validation_epoch_end", broken)
    with pytest.raises(SystemExit) as left:
        main(["-m", *ONE_EPOCH, "seed=0,1", "fail_fast=true", "hydra.sweep.dir=s"])
    assert left.value.code == 1
    told = capsys.readouterr()
    assert "RuntimeError('no such kernel'); fail_fast=true stops here" in told.err
    assert "Traceback" in told.err
    assert "calotype: failed: " in told.err
    assert told.err.count("RuntimeError('no such kernel')") == 2  # at once, and at the end
    assert "sweep folder  s" in told.out
    assert len(list(Path("s").glob("*/run.json"))) == 1


@pytest.mark.parametrize("damage", [lambda path: path.write_text('{"test/acc'), Path.unlink], ids=["damaged", "missing"])
def test_a_finished_job_without_its_metrics_is_named(
    damage: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cli._report_briefly

    def report(result: object, task: str) -> None:
        real(result, task)  # type: ignore[arg-type]
        if read_json(result.run_dir / "run.json")["seed"] == 1:  # type: ignore[attr-defined]
            damage(result.run_dir / "metrics.json")  # type: ignore[attr-defined, operator]

    monkeypatch.setattr(cli, "_report_briefly", report)
    with pytest.raises(SystemExit) as left:
        main(["-m", *ONE_EPOCH, "seed=0,1", "hydra.sweep.dir=s"])
    assert left.value.code == 1
    told = capsys.readouterr()
    assert "test/accuracy" in told.out
    (line,) = [line for line in told.err.splitlines() if "metrics.json" in line]
    assert line.startswith("calotype: failed: ")
    assert "seed=1: " in line
    with pytest.raises(SystemExit) as left:  # nor is it silent in another grid of the same folder
        main(["-m", *ONE_EPOCH, "seed=0,2", "hydra.sweep.dir=s"])
    assert left.value.code == 1
    assert "metrics.json" in capsys.readouterr().err


def hold(folder: Path, *, overrides: list[str]) -> subprocess.Popen[bytes]:
    """Another process that is at the run in `folder`, as far as its record says."""
    other = subprocess.Popen(["sleep", "600"])
    record = RunRecord.start(folder, task="classification", seed=0, overrides=overrides)
    record.update(pid=other.pid, process_start=_process_start(other.pid))
    record._ended.set()
    return other


@pytest.mark.parametrize("end", ["finished", "died", "failed"])
def test_a_job_that_runs_elsewhere_is_awaited(
    end: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it counts as finished, or as failed; where its process died, this one takes it over."""
    main(["-m", *ONE_EPOCH, "seed=0", "hydra.sweep.dir=whole"])
    capsys.readouterr()
    folder = tmp_path / "s" / config_hash(compose_config([*ONE_EPOCH, "seed=0"]))
    other = hold(folder, overrides=["seed=0"])
    printed = []

    def when_told(text: str, **_: object) -> None:
        printed.append(text)
        other.kill()
        other.wait()
        if end != "died":
            whole = tmp_path / "whole" / folder.name
            for name in ("config.yaml", "metrics.json"):
                (folder / name).write_text((whole / name).read_text())
            write_json(folder / "run.json", {**read_json(folder / "run.json"), "status": end, "error": "no luck"})

    monkeypatch.setattr(run_folder, "echo", when_told)
    monkeypatch.setattr(run_folder, "POLL_SECONDS", 0.01)
    command = ["-m", *ONE_EPOCH, "seed=0", "hydra.sweep.dir=s", "retry=true"]
    if end == "failed":
        with pytest.raises(SystemExit) as left:
            main(command)
        assert left.value.code == 1
    else:
        main(command)
    told = capsys.readouterr()
    assert "1 running elsewhere" in told.out
    assert len(printed) == 1
    assert printed[0].startswith(f"waiting for  s/{folder.name}, which runs elsewhere (process {other.pid} of ")
    if end == "failed":
        assert "failed elsewhere (no luck)" in told.err
        return
    assert ("finished elsewhere" in told.out) == (end == "finished")
    assert read_json(folder / "run.json")["status"] == "finished"
    assert len(read_json(folder / "run.json").get("resumed", [])) == (end == "died")
    assert table(Path("s"), capsys) == table(Path("whole"), capsys)


def test_the_note_of_a_sweep_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    threads = [threading.Thread(target=sweep.note, args=(tmp_path / "s", ["seed=0"], ["a", "b"], set())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in (tmp_path / "s").iterdir()] == [SWEEP]
    assert read_json(tmp_path / "s" / SWEEP)["folders"] == ["a", "b"]


def test_a_lock_that_is_held_is_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by the second of two equal searches, which tells what it waits for."""
    held, printed, order = threading.Event(), threading.Event(), []

    def holder() -> None:
        with locked(tmp_path / "lock"):
            held.set()
            printed.wait(30)
            order.append("first")
            (tmp_path / "lock").unlink()

    def printing(text: str, **_: object) -> None:
        order.append(text)
        printed.set()

    monkeypatch.setattr(run_folder, "echo", printing)
    thread = threading.Thread(target=holder)
    thread.start()
    held.wait(30)
    with locked(tmp_path / "lock", "waiting"):
        order.append("second")
        assert (tmp_path / "lock").exists()  # a new one: the first took its own away
    thread.join()
    assert order == ["waiting", "first", "second"]


def test_the_search_and_hydras_plugin_of_optuna_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna", reason="the extra `search` is not installed")
    search = ["-m", *ONE_EPOCH, "seed=0,1", "hydra.sweeper.n_trials=1", "hydra.sweep.dir=s", "dry_run=true"]
    with pytest.raises(SystemExit):
        main([*search, "hydra/sweeper=optuna"])
    told = capsys.readouterr().err
    assert "hydra-optuna-sweeper is not installed; Calotype's own search is hydra/sweeper=search" in told
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", {**store.repo, "hydra": {**store.repo["hydra"], "sweeper": dict(store.repo["hydra"]["sweeper"])}})
    theirs = {"_target_": "theirs.OptunaSweeper", "defaults": [{"sampler": "tpe"}], "n_trials": 20, "params": None}
    store.store(group="hydra/sweeper", name="optuna", node=theirs, provider="optuna_sweeper")
    store.store(group="hydra/sweeper/sampler", name="tpe", node={"_target_": "theirs.tpe"}, provider="optuna_sweeper")
    for sweeper in ("search", "optuna"):
        main([*search, f"hydra/sweeper={sweeper}"])
        assert "dry run: a search" in capsys.readouterr().out


USER_NET = """
import os, time
from torch import nn
class Net(nn.Module):
    def __init__(self, image_shape, num_classes, **options):
        super().__init__()
        self.layer = nn.Linear(image_shape[0] * image_shape[1] * image_shape[2], num_classes)
    def forward(self, images):
        {forward}
        return self.layer(images.flatten(1)).log_softmax(1)
"""


def user_package(tmp_path: Path, forward: str = "pass") -> list[str]:
    """Overrides for a network of the user's own, in a package of a folder that PYTHONPATH names."""
    package = tmp_path / "lib" / "mynets"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    (package / "net.py").write_text(USER_NET.format(forward=forward))
    return ["model._target_=mynets.net.Net"]


@pytest.mark.slow
def test_two_equal_sweeps_at_once(tmp_path: Path) -> None:
    """Each job runs once; both end with the whole table. With joblib's workers the same is done in tests/test_sweep_kills.py."""
    swept = [*FAST, "trainer.max_epochs=20", "seed=0,1", "hydra.sweep.dir=s"]
    pipe = subprocess.PIPE
    both = [subprocess.Popen([*COMMAND, "-m", *swept], cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    results = [(*one.communicate(), one.returncode) for one in both]
    for out, err, code in results:
        assert code == 0, err
        assert out.count("all runs") == 1
    assert len({out[out.index("\nclassification") :] for out, _, _ in results}) == 1
    assert sum(out.count("trained parameters") for out, _, _ in results) == 2
    assert [read_json(path).get("resumed", []) for path in (tmp_path / "s").glob("*/run.json")] == [[], []]


@pytest.mark.slow
def test_fail_fast_stops_workers(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the extra `launchers` is not installed")
    net = user_package(tmp_path, "raise RuntimeError('no such kernel')")
    swept = ["-m", *ONE_EPOCH, *net, "seed=range(6)", "hydra.sweep.dir=s", "fail_fast=true", "hydra/launcher=joblib"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}/lib:{os.environ.get('PYTHONPATH', '')}"}
    command = [*COMMAND, *swept, "hydra.launcher.n_jobs=2"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "RuntimeError('no such kernel'); fail_fast=true stops here" in done.stderr
    assert "calotype: failed: " in done.stderr
    assert "sweep folder  s" in done.stdout
    assert len(list((tmp_path / "s").glob("*/run.json"))) <= 4  # two at once, and those that began until all were stopped


@pytest.mark.parametrize("alive", [True, False])
def test_a_worker_ends_with_the_process_that_started_the_sweep(alive: bool, tmp_path: Path) -> None:
    """A run in a process whose starter is gone is interrupted, and the process leaves."""
    starter = subprocess.Popen(["sleep", "600"])
    told = {**process(), "pid": starter.pid, "process_start": _process_start(starter.pid)}
    code = (
        "import time\nfrom calotype import sweep_process\nsweep_process.POLL_SECONDS = 0.05\n"
        "with sweep_process.ends_with_sweep():\n    print('at it', flush=True)\n    try:\n"
        "        for _ in range(6000):\n            time.sleep(0.1)\n"
        "    except KeyboardInterrupt:\n        print('interrupted', flush=True)\n        raise\n"
    )
    environment = {**os.environ, "CALOTYPE_SWEEP_PROCESS": json.dumps(told)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "at it\n"
        if alive:
            with pytest.raises(subprocess.TimeoutExpired):
                worker.wait(0.3)
            worker.kill()
        starter.kill()
        starter.wait()
        if not alive:
            assert worker.communicate(timeout=30)[0] == "interrupted\n"  # by a thread that looked at the starter
            assert worker.returncode in (130, -2)


def test_a_worker_whose_reader_is_gone_goes_on(tmp_path: Path) -> None:
    """What it prints is lost with the main process, and is no fault of its run."""
    told = {**process(), "pid": os.getppid(), "process_start": _process_start(os.getppid())}
    code = (
        "import sys\nfrom calotype import sweep_process\nsys.stdin.readline()\n"
        "with sweep_process.ends_with_sweep():\n    for _ in range(9):\n        print('x' * 9999, flush=True)\n"
        "open('done', 'w').close()\n"
    )
    environment = {**os.environ, "CALOTYPE_SWEEP_PROCESS": json.dumps(told)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment, stdin=pipe, stdout=pipe, text=True) as worker:
        assert worker.stdout is not None
        worker.stdout.close()
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.close()
        worker.wait(60)
    assert (tmp_path / "done").exists()


def test_a_sweep_notices_that_a_package_of_the_users_has_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = user_package(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    command = ["-m", *ONE_EPOCH, *net, "seed=0,1", "hydra.sweep.dir=s"]
    main(command)
    assert read_json(tmp_path / "s" / SWEEP)["packages"] == ["mynets"]
    (path, _) = (tmp_path / "s").glob("*/run.json")
    described = read_json(path)["user_code"]["mynets"]
    assert (described["version"], described["git_commit"]) == (None, None)
    capsys.readouterr()
    main(command)
    assert "the code has changed" not in capsys.readouterr().err
    user_package(tmp_path, "images = images + 0")
    main(command)
    assert "the code has changed since this sweep was started" in capsys.readouterr().err
    rerun_main([str(path.parent), "--out", "again", "--trust"])
    assert read_json(Path("again/run.json"))["user_code"]["mynets"]["hash"] != described["hash"]

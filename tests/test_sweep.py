"""Sweeps: looked over before they start, gone on with by the same command, whatever became of the runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from calotype import building, sweep
from calotype.cli import main
from calotype.records import FORMAT, SWEEP
from calotype.run_folder import _process_start
from calotype.runner import compose_config
from calotype.schema import config_hash
from calotype.types import UserError
from helpers import FAST, table

GAN = ["task=gan", "dataset=gaussians_2d", "dataset.num_points=600", "model=gan/mlp_gan", "model.widths=[8]", "task.samples=100",
       "trainer.max_epochs=1", "hardware=cpu", "logger=none", "loss=gan/least_squares"]  # fmt: skip


def test_the_same_overrides_have_the_same_folder() -> None:
    first = sweep.folder_of(["-m", "seed=0,1", "experiment=gan/ring"])
    assert first == sweep.folder_of(["experiment=gan/ring", "--multirun", "seed=0,1"])
    assert first == sweep.folder_of(["-m", "seed=0,1", "experiment=gan/ring", "retry=true", "hydra/launcher=joblib", "dry_run=true"])
    assert first != sweep.folder_of(["-m", "seed=0,2", "experiment=gan/ring"])
    assert first.startswith("${expanded:${paths.output_dir}}/sweeps/gan-ring-")


def test_a_study_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = tmp_path / "widths" / "study.yaml"
    study.parent.mkdir()
    kept = [o for o in [*FAST, "seed=0,1"] if not o.startswith("~")]
    lines = "".join(f"      {o.partition('=')[0]}: {o.partition('=')[2]}\n" for o in kept)
    study.write_text(f"defaults: [config, _self_]\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n{lines}")
    command = ["--config-dir", "widths", "--config-name", "study"]
    main(command)
    assert "sweep of 2 runs in outputs/sweeps/widths-" in capsys.readouterr().out
    main([*command, "dry_run=true"])
    assert "2 finished" in capsys.readouterr().out
    study.write_text(study.read_text().replace("classification/digits", "classification/gone"))
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert "job 1 of 2" in told
    assert "classification/gone" in told


def test_a_damaged_run_is_told_before_the_first_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swept = ["-m", *FAST, "seed=0,1", f"hydra.sweep.dir={tmp_path}/s"]
    damaged = tmp_path / "s" / config_hash(compose_config([*FAST, "seed=1"])) / "run.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text('{"status": "fini')
    with pytest.raises(SystemExit) as left:
        main(swept)
    assert left.value.code == 2
    told = capsys.readouterr()
    assert "calotype: job 2 of 2 (" in told.err
    assert f"{damaged}: damaged" in told.err
    assert len(told.err.splitlines()) == 1
    assert [p.name for p in (tmp_path / "s").iterdir()] == [damaged.parent.name]


@pytest.mark.slow
def test_a_sweep_that_was_killed_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One run of four done, one cut off, two not begun; the end is that of a sweep that nothing happened to."""
    monkeypatch.chdir(tmp_path)
    swept = [*FAST, "trainer.max_epochs=15", "seed=0,1,2,3"]
    killed = ["hydra.sweep.dir=killed"]
    command = [sys.executable, "-m", "calotype.cli", "-m", *swept, *killed]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ends = 0
        for line in process.stdout:
            ends += "run folder" in line
            if ends == 1 and line.startswith("epoch 3/"):
                process.send_signal(signal.SIGKILL)
                break
    main(["-m", *swept, *killed])
    told = capsys.readouterr().out
    assert "sweep of 4 runs in killed: 1 finished, 1 to go on with, 2 new; about " in told
    assert told.count("finished before") == 1
    records = [json.loads(path.read_text()) for path in Path("killed").glob("*/run.json")]
    assert sorted(len(record.get("resumed", [])) for record in records) == [0, 0, 0, 1]
    main(["-m", *swept, "hydra.sweep.dir=whole"])
    capsys.readouterr()
    assert table(Path("killed"), capsys) == table(Path("whole"), capsys)


def test_failed_runs_are_told_and_run_again_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    swept = ["-m", *GAN, "optimizer.lr=1e30,0.001"]
    with pytest.raises(SystemExit) as left:
        main(swept)
    assert left.value.code == 1
    told = capsys.readouterr()
    assert "2 new" in told.out
    assert "lr=0.001" in told.out  # the second ran all the same
    assert "calotype: failed: " in told.err
    assert "optimizer.lr=1e+30" in told.err
    assert "all runs" not in told.out
    assert [line.split("lr=")[1][:5] for line in told.err.splitlines() if "the sweep goes on" in line] == ["1e+30"]  # when it happened
    assert told.err.count("the discriminator's loss") == 2  # then, and in the list at the end
    assert "Error executing job" not in told.err
    assert [line for line in told.out.splitlines() if line.startswith("test/modes ")]  # the other's figures, in one line
    assert "test/mode_kl" not in told.out
    assert "retry=true runs again what failed" in told.err
    with pytest.raises(SystemExit):
        main(swept)
    told = capsys.readouterr()
    assert "1 finished, 1 failed (retry=true runs them again)" in told.out
    assert "failed before (the discriminator's loss" in told.err
    with pytest.raises(SystemExit):
        main([*swept, "retry=true"])
    told = capsys.readouterr()
    assert "1 finished, 1 failed and to be run again" in told.out
    assert "failed before" not in told.err


def test_figures_that_are_damaged_are_not_finished(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"format": FORMAT, "status": "finished"}))
    (tmp_path / "metrics.json").write_text("{}")
    assert sweep.state(tmp_path) == "finished"
    (tmp_path / "metrics.json").write_text('{"test/acc')
    with pytest.raises(UserError, match=r"metrics.json: damaged .*; without the folder .* it is run again"):
        sweep.state(tmp_path)


def test_fail_fast_stops_at_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["-m", *GAN, "optimizer.lr=1e30,0.001", "fail_fast=true"])
    assert left.value.code == 1
    assert "fail_fast=true stops here" in capsys.readouterr().err
    assert len(list(Path("outputs/sweeps").glob("*/*/run.json"))) == 1


def test_one_job_that_cannot_work_stops_all(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["-m", *FAST, "seed=0,1,2", "loss.label_smoothing=0.0,0.1,much"])
    assert left.value.code == 2
    told = capsys.readouterr()
    assert "job 3 of 9" in told.err
    assert "loss.label_smoothing" in told.err
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize(
    ("swept", "key"),
    [
        ("data.batch_size=8,16,32,64,128,256,-1,4,2", "data.batch_size=-1"),
        ("model.dropout=0,0.1,0.2,0.3,0.4,0.5,2,0.6,0.7", "dropout"),
        ("optimizer.lr=1,2,3,4,5,6,-7,8,9", "optimizer.lr=-7: must be a number > 0"),
    ],
)
def test_a_value_that_only_the_part_can_refuse_stops_all(
    swept: str, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["-m", "experiment=classification/digits", "logger=none", swept])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("calotype: job 7 of 9 (")
    assert key in line
    assert not list(tmp_path.rglob("*.json"))


def test_parts_are_tried_once_for_all_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    for name in ("build", "build_data", "build_task"):
        real = getattr(building, name)
        monkeypatch.setattr(building, name, lambda *a, name=name, real=real, **k: built.append(name) or real(*a, **k))
    specs: dict[str, object] = {}
    for more in (["seed=0"], ["seed=1"], ["seed=0", "loss.label_smoothing=0.3"]):
        sweep._try_parts(compose_config([*FAST, *more]), specs)
    assert [name for name in built if name != "build"] == ["build_data", "build_task", "build_task"]


@pytest.mark.parametrize(
    ("swept", "reason"),
    [
        (["optimiser.lr=1,2"], "job 1 of 2 (optimiser.lr=1): optimiser: no such key in the config; did you mean optimizer?"),
        (["model=mlp,mpl"], "model=mpl: no such choice; did you mean mlp? (all choices: "),
        (["seed=0,x"], "seed=x: must be a whole number"),
        (["experiment=classification/gone", "seed=0,1"], "experiment=classification/gone: no such choice"),
        (
            ["hydra/launcher=joblb", "seed=0,1"],
            "hydra/launcher=joblb: no such choice; did you mean joblib? (hydra/launcher: basic, joblib, ",
        ),
        (["hydra/sweeper=serch", "seed=0,1"], "hydra/sweeper=serch: no such choice; did you mean search?"),
        (["hydra/sweeper=paired", "seed=0,1"], "hydra/sweeper=paired: say what goes together"),
    ],
)
def test_mistakes_in_a_sweep_are_told_as_in_a_run(
    swept: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["-m", *swept])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line


def test_a_study_whose_file_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--config-dir", str(tmp_path), "--config-name", "stdy"])
    assert "--config-name stdy: no stdy.yaml in the folder that --config-dir names" in capsys.readouterr().err


SEARCHED = ["hydra/sweeper=search", "hydra.sweeper.metric=val/accuracy", "hydra.sweeper.direction=maximize"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["seed=range(0)"], "seed=range(0): has no values"),
        (["seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs=0: must be"),
        ([*SEARCHED, "hydra.sweeper.n_trials=0", "optimizer.lr=interval(0.1,1)"], "hydra.sweeper.n_trials=0: must be"),
        ([*SEARCHED, "hydra.sweeper.n_trials=2", "optimizer.lr=interval(1,0.1)"], "optimizer.lr=interval(1,0.1): "),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_sweep_of_nothing_is_refused(options: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "joblib" in " ".join(options):
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the extra `launchers` is not installed")
    if "search" in " ".join(options):
        pytest.importorskip("optuna", reason="the extra `search` is not installed")
    with pytest.raises(SystemExit):
        main(["-m", *FAST, *options])
    told = capsys.readouterr().err
    assert told.startswith(f"calotype: {line}")
    assert told.count("\n") == 1
    assert not list(Path().rglob("run.json"))


def test_a_study_that_does_not_say_multirun_is_no_single_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It trained one run of the defaults, and passed over the grid."""
    (tmp_path / "study.yaml").write_text("defaults: [config, _self_]\nhydra:\n  sweeper:\n    params:\n      seed: 0,1\n")
    with pytest.raises(SystemExit) as left:
        main(["--config-dir", str(tmp_path), "--config-name", "study"])
    assert left.value.code == 2
    assert "hydra.sweeper.params: its values (seed) are of a sweep; add -m, or hydra.mode: MULTIRUN" in capsys.readouterr().err
    assert not list(Path().rglob("run.json"))


def test_dry_run_of_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["-m", *FAST, "seed=range(5)", "dry_run=true"])
    told = capsys.readouterr().out
    assert "sweep of 5 runs" in told
    assert [line.split()[0] for line in told.splitlines() if line.endswith(tuple(f"seed={i}" for i in range(5)))] == ["new"] * 5
    assert not list(tmp_path.rglob("*.json"))


def test_code_that_changed_since_the_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sweep.changed(tmp_path) is None
    (tmp_path / SWEEP).write_text(json.dumps({"code": sweep.code_hash(), "git_commit": "abc"}))
    assert sweep.changed(tmp_path) is None
    monkeypatch.setattr(sweep, "code_hash", lambda *_: "another")
    assert "commit abc" in str(sweep.changed(tmp_path))


def test_options_of_a_sweep_are_no_settings() -> None:
    """Runs of the same config have the same hash, however their sweep was to treat failures."""
    plain, other = (config_hash(compose_config(overrides)) for overrides in ([], ["retry=true", "fail_fast=true"]))
    assert plain == other


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        ["hydra/launcher=submitit_local"],  # tests/test_sweep_kills.py has joblib
        ["hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2"],
    ],
    ids=lambda options: options[0].partition("=")[2],
)
def test_launchers_of_hydras(
    launcher: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures are those of runs in this process; a second time there is nothing left to do."""
    kind = launcher[0].partition("=")[2].partition("_")[0]
    pytest.importorskip(f"hydra_plugins.hydra_{kind}_launcher", reason="the extra `launchers`, or `ray`, is not installed")
    monkeypatch.chdir(tmp_path)
    swept = [*FAST, "seed=0,1"]
    command = [sys.executable, "-m", "calotype.cli", "-m", *swept, "hydra.sweep.dir=side_by_side"]
    subprocess.run([*command, *launcher], check=True, cwd=tmp_path, capture_output=True)
    main(["-m", *swept, "hydra.sweep.dir=in_turn"])
    capsys.readouterr()
    assert table(Path("side_by_side"), capsys) == table(Path("in_turn"), capsys)
    main(["-m", *swept, "hydra.sweep.dir=side_by_side"])
    assert capsys.readouterr().out.count("finished before") == 2


@pytest.mark.slow
def test_several_processes_in_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One tree of two folders, and nothing of the first run reaches the second one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ddp = [*FAST, "hardware=ddp_cpu", "trainer.max_epochs=1"]
    subprocess.run([sys.executable, "-m", "calotype.cli", "-m", *ddp, "seed=0,1", "hydra.sweep.dir=sweep"], check=True, cwd=tmp_path)
    subprocess.run([sys.executable, "-m", "calotype.cli", *ddp, "seed=1", "hydra.run.dir=single"], check=True, cwd=tmp_path)
    folders = {json.loads(path.read_text())["seed"]: path.parent for path in Path("sweep").glob("*/run.json")}
    assert sorted(folders) == [0, 1]
    assert len(list(tmp_path.rglob("run.json"))) == 3
    record = json.loads((folders[1] / "run.json").read_text())
    assert (record["status"], record["hardware"]["processes"]) == ("finished", 2)
    assert json.loads((folders[1] / "metrics.json").read_text()) == json.loads(Path("single/metrics.json").read_text())


SEARCH = ["-m", *FAST, "trainer.max_epochs=3", "hydra/sweeper=search", "hydra.sweeper.metric=val/accuracy", "hydra.sweep.dir=search",
          "hydra.sweeper.direction=maximize", "optimizer.lr=tag(log,interval(1e-5,1e-1))", "scheduler=none,step"]  # fmt: skip


@pytest.mark.slow
def test_a_search_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    optuna = pytest.importorskip("optuna", reason="the extra `search` is not installed")
    monkeypatch.chdir(tmp_path)
    main([*SEARCH, "hydra.sweeper.n_trials=3", "dry_run=true"])
    assert "dry run: a search" in capsys.readouterr().out
    assert not Path("search/search.db").exists()
    with pytest.raises(SystemExit):
        main([*SEARCH, "hydra.sweeper.direction=upward"])
    assert "hydra.sweeper.direction=upward: must be maximize | minimize" in capsys.readouterr().err
    main([*SEARCH, "hydra.sweeper.n_trials=3"])
    assert "0 of 3 trials are done" in capsys.readouterr().out
    study = optuna.load_study(storage="sqlite:///search/search.db", study_name="search")
    cut = study.ask({"optimizer.lr": optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)})  # a process that was killed
    main([*SEARCH, "hydra.sweeper.n_trials=5"])
    told = capsys.readouterr().out
    assert "3 of 5 trials are done" in told
    assert "best  val/accuracy 0." in told
    trials = optuna.load_study(storage="sqlite:///search/search.db", study_name="search").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3 + ["FAIL"] + ["COMPLETE"] * 2
    assert trials[4].params["optimizer.lr"] == cut.params["optimizer.lr"]
    runs = [json.loads(path.read_text()) for path in Path("search").glob("*/run.json")]
    assert len(runs) == 5
    for trial in [trials[i] for i in (0, 1, 2, 4, 5)]:
        run = next(run for run in runs if f"optimizer.lr={trial.params['optimizer.lr']}" in run["overrides"])
        assert f"scheduler={trial.params['scheduler']}" in run["overrides"]
    best = json.loads(Path("search/search.json").read_text())
    assert best[0]["val/accuracy"] == max(trial.value for trial in trials if trial.value is not None)


@pytest.mark.slow
def test_pruning_and_several_objectives(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    optuna = pytest.importorskip("optuna", reason="the extra `search` is not installed")
    monkeypatch.chdir(tmp_path)
    fast = ["-m", *FAST, "trainer.max_epochs=8", "hydra/sweeper=search"]
    # Five good trials that are known already, which is how many the pruner waits for; rates that learn nothing come after them.
    Path("pruned").mkdir()
    study = optuna.create_study(storage="sqlite:///pruned/search.db", study_name="search")
    rates = optuna.distributions.CategoricalDistribution(["1e-09", "2e-09"])
    for _ in range(5):
        known = dict.fromkeys(range(8), 0.1)
        study.add_trial(optuna.trial.create_trial(params={"optimizer.lr": "1e-09"}, distributions={"optimizer.lr": rates}, value=0.1,
                                                  intermediate_values=known))  # fmt: skip
    main([*fast, "optimizer.lr=1e-9,2e-9", "hydra.sweeper.n_trials=7", "hydra.sweeper.pruner=MedianPruner", "hydra.sweep.dir=pruned"])
    trials = optuna.load_study(storage="sqlite:///pruned/search.db", study_name="search").trials
    assert [trial.state.name for trial in trials[5:]] == ["PRUNED", "PRUNED"]
    # Stopped after the first epoch of eight; the second is the same run again, or one of its own.
    assert [len(trial.intermediate_values) for trial in trials[5:]] in ([1, 0], [1, 1])
    assert len(list(Path("pruned").glob("*/metrics.json"))) == len({trial.params["optimizer.lr"] for trial in trials[5:]})
    assert "CALOTYPE_TRIAL" not in os.environ
    several = ["hydra.sweeper.metric=[val/accuracy,wall_seconds]", "hydra.sweeper.direction=[maximize,minimize]"]
    capsys.readouterr()
    main([*fast, "trainer.max_epochs=1,2", *several, "hydra.sweeper.n_trials=2", "hydra.sweep.dir=several"])
    assert "wall_seconds" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*fast, "seed=0,1", *several, "hydra.sweeper.pruner=MedianPruner"])
    assert "trials of several metrics cannot be pruned" in capsys.readouterr().err


def test_paired_settings_change_together(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = [
        "-m",
        *FAST,
        "hydra/sweeper=paired",
        "hydra.sweeper.paired=[optimizer.lr,data.batch_size]",
        "optimizer.lr=0.001,0.002",
        "seed=0,1",
    ]
    main([*pairs, "trainer.max_epochs=1", "data.batch_size=32,64"])
    assert "sweep of 4 runs" in capsys.readouterr().out
    told = [json.loads(path.read_text())["overrides"] for path in Path("outputs/sweeps").glob("*/*/run.json")]
    found = sorted(tuple(o for o in run if o.startswith(("optimizer.lr", "data.batch", "seed"))) for run in told)
    wanted = [
        (f"optimizer.lr={lr}", f"data.batch_size={size}", f"seed={seed}") for lr, size in (("0.001", 32), ("0.002", 64)) for seed in (0, 1)
    ]
    assert found == wanted
    for given, error in (([], "no values are given for data.batch_size"), (["data.batch_size=1,2,3"], "optimizer.lr 2, data.batch_size 3")):
        with pytest.raises(SystemExit) as left:
            main([*pairs, *given])
        assert left.value.code == 2
        assert error in capsys.readouterr().err


def test_a_killed_process_that_nobody_looked_for_is_not_running(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    record = {
        "format": FORMAT,
        "status": "running",
        "host": socket.gethostname(),
        "pid": process.pid,
        "process_start": _process_start(process.pid),
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert sweep.state(tmp_path) == "running"
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is dead, and left as it is
    assert sweep.state(tmp_path) == "interrupted"
    process.communicate()
    assert sweep.state(tmp_path) == "interrupted"

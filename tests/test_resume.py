"""What resume= promises: the same metrics whatever was interrupted, and nothing that falsifies what was trained."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.optim import NAdam

import calotype
from calotype.callbacks.metrics_csv import read_metrics
from calotype.check import ConfigError
from calotype.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from calotype.resume import Change, changed_config, refuse_less
from calotype.types import UserError

SMALL = ["model.widths=[4,8]", "scheduler=none", "hardware=cpu", "hardware.num_threads=1", "logger=none"]


def options(folder: Path, *more: str) -> list[str]:
    return [*SMALL, f"hydra.run.dir={folder}", *more]


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def cut_off(folder: Path, **changes: Any) -> None:
    """Let a finished run look as one that was killed after its last checkpoint."""
    (folder / "run.json").write_text(json.dumps({**record(folder), "status": "interrupted", **changes}))
    (folder / "metrics.json").unlink()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three epochs, to be copied."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    calotype.run(options(folder, "trainer.max_epochs=3"))
    return folder


@pytest.fixture
def cut(finished: Path, tmp_path: Path) -> Path:
    """A copy of it that was cut off in its evaluation, in another place."""
    folder = tmp_path / "cut"
    shutil.copytree(finished, folder)
    cut_off(folder)
    return folder


def test_cut_off_in_the_evaluation_and_moved(cut: Path, finished: Path) -> None:
    before = (cut / "checkpoints" / "best.ckpt").read_bytes()
    calotype.run([f"resume={cut}"])
    assert (cut / "metrics.json").read_bytes() == (finished / "metrics.json").read_bytes()
    assert read_metrics(cut / "metrics.csv") == read_metrics(finished / "metrics.csv")
    assert (cut / "images" / "curves.png").read_bytes() == (finished / "images" / "curves.png").read_bytes()
    assert (cut / "checkpoints" / "best.ckpt").read_bytes() == before
    assert record(cut)["overrides"] == record(finished)["overrides"]
    assert record(cut)["ended_by"] == "max_epochs"


def test_a_moved_run_remembers_its_best_score(tmp_path: Path) -> None:
    """Worse epochs that follow do not take the place of best.ckpt."""
    from calotype.checkpoint_io import relocate

    there = {"dirpath": "/old/checkpoints", "best_model_path": "/old/checkpoints/best.ckpt"}
    checkpoint = {
        "callbacks": {
            "best": {**there, "best_k_models": {"/old/checkpoints/best.ckpt": torch.tensor(0.9)}},
            "other": {"value": "/old/checkpoints/best.ckpt"},
        }
    }
    relocate(checkpoint, tmp_path)
    best = checkpoint["callbacks"]["best"]
    assert best["dirpath"] == str(tmp_path)
    assert best["best_model_path"] == f"{tmp_path}/best.ckpt"
    assert list(best["best_k_models"]) == [f"{tmp_path}/best.ckpt"]
    assert checkpoint["callbacks"]["other"]["value"].startswith("/old")


REFUSED = {
    "model.widths=[8,8]": "model.widths=.* its network must stay the same",
    "seed=5": "seed=5: the run was trained with 0, and its seed must stay the same",
    "data.val_fraction=0.3": "data and split must stay the same",
    "data.batch_size=7": "data and split must stay the same",
    "model=mlp": "model=mlp: .* was trained with model=small_resnet",
    "loss=focal": "loss=focal: .* was trained with loss=cross_entropy",
    "optimizer=sgd": "optimizer=sgd: .* was trained with optimizer=adam",
    "dataset=textures": "dataset=textures: .* was trained with dataset=digits",
    "optimizer._target_=torch.optim.AdamW": "another kind of optimizer",
    "task.flip_test=true": "two different trainings",
    "experiment=classification/mnist": "was trained with experiment=null",
    "debug=fast": "trained with debug=null",
    "init_from=RUN": "init_from=RUN: resume= goes on from the run's own weights; give one of the two",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_would_falsify_the_run_is_refused(override: str, cut: Path) -> None:
    before = {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=REFUSED[override]) as error:
        calotype.run([f"resume={cut}", override])
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()} == before


def test_what_may_change_acts_and_is_recorded(cut: Path) -> None:
    begun_with = record(cut)["overrides"]
    more = ["trainer.max_epochs=5", "optimizer.lr=0.0001", "loss.label_smoothing=0.2", "hardware=cpu", "name=new"]
    result = calotype.run([f"resume={cut}", *more, "logger=none", "trainer.log_every_n_steps=5"])
    assert result.module.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-4)
    assert result.module.loss.label_smoothing == 0.2
    config, told = yaml.safe_load((cut / "config.yaml").read_text()), record(cut)
    assert (config["optimizer"]["lr"], config["trainer"]["max_epochs"], told["epochs"]) == (1e-4, 5, 5)
    changes = {one["key"]: (one["before"], one["now"], one["step"]) for one in told["changes"]}
    assert changes["trainer.max_epochs"][:2] == (3, 5)
    assert changes["optimizer.lr"][:2] == (1e-3, 1e-4)
    assert {one["step"] for one in told["changes"]} == {read_step(cut, 3)}
    assert {"loss.label_smoothing", "name", "trainer.log_every_n_steps"} <= set(changes)
    assert told["overrides"] == [*begun_with, *(o for o in [*more, "trainer.log_every_n_steps=5"] if o != "hardware=cpu")]


LESS = {
    "trainer.max_epochs=2": "trainer.max_epochs=2: the run has 3 epochs already",
    "trainer.max_epochs=0": "trainer.max_epochs=0: the run has 3 epochs already",
    "trainer.max_steps=1": "trainer.max_steps=1: the run has [0-9]+ steps already",
    "trainer.max_time=00:00:00:00": "trainer.max_time=00:00:00:00: the run has [0-9]+ seconds already",
}


@pytest.mark.parametrize("status", ["finished", "interrupted"])
@pytest.mark.parametrize("override", LESS)
def test_less_than_was_trained_is_refused(override: str, status: str, finished: Path, cut: Path, tmp_path: Path) -> None:
    folder = finished if status == "finished" else cut
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=LESS[override]) as error:
        calotype.run([f"resume={folder}", override, f"hydra.run.dir={tmp_path}/further"])
    assert len(str(error.value)) < 200
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "further").exists()


def test_what_was_trained_already_may_be_the_limit_of_a_run_that_was_cut_off(cut: Path) -> None:
    done = record(cut)["steps"]
    refuse_less(cut, record(cut), [Change("trainer.max_steps", -1, done), Change("trainer.max_epochs", 3, -1)])
    with pytest.raises(ConfigError, match=f"has {done} steps already; give more"):
        refuse_less(cut, {"status": "finished"}, [Change("trainer.max_steps", -1, done)])
    with pytest.raises(ConfigError, match=f"task.steps=1: the run has {done} steps already"):
        refuse_less(cut, record(cut), [Change("task.steps", 9, 1)])
    refuse_less(cut, record(cut), [Change("trainer.max_time", None, "01:00:00:00"), Change("trainer.max_time", "00:00:00:01", None)])


def test_rerun_names_what_was_changed_on_the_way() -> None:
    from calotype.rerun import _other_differences

    change = {"key": "optimizer.lr", "before": 0.1, "now": 0.01, "step": 60}
    (line,) = _other_differences({"changes": [change]}, {})
    assert line == "optimizer.lr: changed from 0.1 to 0.01 at step 60 of the run, and 0.01 from the start now"


def read_step(folder: Path, epochs: int) -> int:
    """The optimizer steps of so many epochs."""
    return epochs * (record(folder)["steps"] // record(folder)["epochs"])


@pytest.mark.parametrize("more", [["dry_run=true"], ["optimizer.lr=0.01"], ["name=other"], ["trainer.max_time=00:01:00:00"], []])
def test_a_finished_run_says_how_it_trains_on(more: list[str], finished: Path) -> None:
    with pytest.raises(UserError, match=r"is finished; trainer\.max_epochs=N above its 3 trains on"):
        calotype.run([f"resume={finished}", *more])


def test_a_place_that_is_no_run_folder(finished: Path, tmp_path: Path) -> None:
    for place in ("config.yaml", "checkpoints", "checkpoints/last.ckpt"):
        with pytest.raises(ConfigError, match=f"^resume={finished}/{place}: lies within a run; give its folder {finished}$"):
            calotype.run([f"resume={finished}/{place}"])
    with pytest.raises(ConfigError, match="/nope: no such folder"):
        calotype.run([f"resume={tmp_path}/nope"])


@pytest.mark.parametrize("key", ["resume", "init_from", "dataset.root", "+dataset.path", "task.classifier"])
def test_an_unset_variable_is_no_path(key: str, tmp_path: Path) -> None:
    kind = ["task=gan", "task.samples=100"] if key == "task.classifier" else ["dataset=image_folder"] if key == "dataset.root" else []
    with pytest.raises(ConfigError, match=f"^{key.lstrip('+')}=: give a (run folder|path), or null for none$"):
        calotype.run([f"hydra.run.dir={tmp_path}/run", *kind, f"{key}="])
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_takes_no_empty_path(cut: Path) -> None:
    with pytest.raises(ConfigError, match=r"^resume=: give a run folder"):
        calotype.run([f"resume={cut}", "resume="])
    with pytest.raises(ConfigError, match=r"^dataset\.root=: give a path"):
        calotype.run([f"resume={cut}", "+dataset.root="])


def test_an_option_that_the_run_has_already_is_no_change(cut: Path, finished: Path) -> None:
    calotype.run([f"resume={cut}", "model=small_resnet", "model.widths=[4,8]", "seed=0", "dataset=digits"])
    assert (cut / "metrics.json").read_bytes() == (finished / "metrics.json").read_bytes()
    assert "changes" not in record(cut)


def test_an_override_that_a_later_one_replaced_is_a_change(cut: Path) -> None:
    """`trainer.max_epochs=9 trainer.max_epochs=3` trained 3 epochs; 9 are 6 more."""
    before = {**record(cut), "overrides": ["trainer.max_epochs=9", "trainer.max_epochs=3"]}
    _, changes = changed_config(cut, ["trainer.max_epochs=9"], before, Path.cwd())
    assert [(change.key, change.before, change.now) for change in changes] == [("trainer.max_epochs", 3, 9)]
    assert changed_config(cut, ["trainer.max_epochs=3"], before, Path.cwd())[1] == []


def test_a_learning_rate_keeps_shares_and_schedule(tmp_path: Path) -> None:
    """With a schedule the changed rate is that of the schedule's peak; what was restored is scaled."""
    folder = tmp_path / "a"
    calotype.run(options(folder, "scheduler=exponential", "trainer.max_epochs=2"))
    cut_off(folder)
    result = calotype.run([f"resume={folder}", "optimizer.lr=0.01", "trainer.max_epochs=3"])
    assert result.module.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01 * 0.95**3)


@pytest.mark.parametrize("scheduler", ["exponential", "step", "warmup_cosine", "plateau"])
def test_resumed_with_every_scheduler(scheduler: str, tmp_path: Path) -> None:
    """Lightning steps epoch schedules after the checkpoint of the epoch is written."""
    more = [f"scheduler={scheduler}", "trainer.max_epochs=4"]
    more += ["scheduler.step_size=2"] if scheduler == "step" else []
    whole = calotype.run(options(tmp_path / "whole", *more))
    die_in_epoch(tmp_path / "killed", 3, more)
    resumed = calotype.run([f"resume={tmp_path}/killed"])
    assert resumed.metrics == whole.metrics
    rows = [read_metrics(tmp_path / name / "metrics.csv") for name in ("whole", "killed")]
    assert rows[0] == rows[1]


def die_in_epoch(folder: Path, epoch: int, more: list[str]) -> None:
    """A run that is gone without a word when it enters an epoch, from 1."""
    from calotype.tasks.classification import Classification

    class Killed(BaseException):
        pass

    def on_train_epoch_start(self: Any) -> None:
        if self.current_epoch == epoch - 1:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classification, "on_train_epoch_start", on_train_epoch_start)
        with pytest.raises(Killed):
            calotype.run(options(folder, *more))
    told = record(folder)
    (folder / "run.json").write_text(json.dumps({**told, "status": "running", "pid": 2**30}))


def test_metrics_csv_keeps_all_epochs_where_an_earlier_one_is_best(tmp_path: Path) -> None:
    more = ["optimizer.lr=0.3", "trainer.max_epochs=4"]  # too high for the last epoch to be the best
    folder = calotype.run(options(tmp_path / "a", *more)).run_dir
    best = read_checkpoint(folder / "checkpoints" / "best.ckpt")["calotype"]["epochs"]
    epochs = [epoch for _, epoch, name, _ in read_metrics(folder / "metrics.csv") if name == "val/loss"]
    assert best < 4
    assert epochs == [0, 1, 2, 3, 4]  # the last is the evaluation after training


def test_moved_and_resumed_keeps_the_best_of_before(tmp_path: Path) -> None:
    """Epochs that are worse than the best one, which was before the move, do not take its place."""
    more = ["optimizer.lr=0.3", "trainer.max_epochs=4", "seed=3"]
    whole = calotype.run(options(tmp_path / "whole", *more))
    best = read_checkpoint(tmp_path / "whole" / "checkpoints" / "best.ckpt")["calotype"]["epochs"]
    die_in_epoch(tmp_path / "killed", best + 1, more)
    shutil.move(tmp_path / "killed", tmp_path / "moved")
    assert best < 4
    assert calotype.run([f"resume={tmp_path}/moved"]).metrics == whole.metrics


def test_tensorboard_forgets_what_is_logged_again(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    more = ["logger=tensorboard", "trainer.max_epochs=3", "trainer.log_every_n_steps=1"]
    die_in_epoch(tmp_path / "a", 3, more)
    calotype.run([f"resume={tmp_path}/a"])
    events = EventAccumulator(str(tmp_path / "a" / "tensorboard"))
    events.Reload()
    steps = [event.step for event in events.Scalars("train/loss")]
    assert steps == sorted(set(steps))
    assert len(steps) == record(tmp_path / "a")["steps"]


def test_early_stopping_stays_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    stop = ["callbacks=early_stopping", "callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=9"]
    whole = calotype.run(options(folder, "trainer.max_epochs=9", *stop))
    assert (record(folder)["ended_by"], record(folder)["epochs"]) == ("early_stopping", 2)
    cut_off(folder)
    assert calotype.run([f"resume={folder}"]).metrics == whole.metrics
    assert (record(folder)["ended_by"], record(folder)["epochs"]) == ("early_stopping", 2)


def test_a_finished_run_goes_further_in_a_new_folder(finished: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="is finished"):
        calotype.run([f"resume={finished}"])
    further = calotype.run([f"resume={finished}", "trainer.max_epochs=5", f"hydra.run.dir={tmp_path}/further"])
    whole = calotype.run(options(tmp_path / "whole", "trainer.max_epochs=5"))
    assert further.run_dir == tmp_path / "further"
    assert further.metrics == whole.metrics
    assert read_metrics(further.run_dir / "metrics.csv") == read_metrics(whole.run_dir / "metrics.csv")
    assert record(further.run_dir)["parent"] == str(finished)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda raw: b"",
    "truncated": lambda raw: raw[: len(raw) // 2],
    "text": lambda raw: b"a text",
    "foreign": lambda raw: _foreign(),
    "one bit": lambda raw: _flipped(raw),
}


def _foreign() -> bytes:
    import io

    file = io.BytesIO()
    torch.save({"state_dict": {}}, file)
    return file.getvalue()


def _flipped(raw: bytes) -> bytes:
    damaged = bytearray(raw)
    damaged[len(raw) // 3] ^= 1
    return bytes(damaged)


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    kind: str, cut: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last, best = cut / "checkpoints" / "last.ckpt", cut / "checkpoints" / "best.ckpt"
    last.write_bytes(DAMAGE[kind](last.read_bytes()))
    calotype.run([f"resume={cut}"])
    printed = capsys.readouterr().out
    assert f"{last}: damaged, or no checkpoint of Calotype's" in printed
    assert "going on from" in printed
    assert (cut / "metrics.json").read_bytes() == (finished / "metrics.json").read_bytes()
    assert read_metrics(cut / "metrics.csv") == read_metrics(finished / "metrics.csv")

    cut_off(cut)
    for path in (last, best):
        path.write_bytes(DAMAGE[kind](path.read_bytes()))
    with pytest.raises(UserError, match=r"last.ckpt: damaged.* no other checkpoint") as error:
        calotype.run([f"resume={cut}"])
    assert "\n" not in str(error.value)


def test_no_flipped_byte_of_a_checkpoint_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weight": torch.randn(40, 40)}, path)
    raw, places = path.read_bytes(), random.Random(0)
    for _ in range(300):
        damaged = bytearray(raw)
        damaged[places.randrange(len(raw))] ^= 1 << places.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            read_checkpoint(path)
    path.write_bytes(raw)
    assert torch.load(path)["weight"].shape == (40, 40)  # a checkpoint as any other to torch


def test_a_folder_of_another_format_is_refused_in_one_line(cut: Path) -> None:
    old = record(cut)
    del old["format"]
    (cut / "run.json").write_text(json.dumps(old))
    for use in (lambda: calotype.run([f"resume={cut}"]), lambda: calotype.load(cut)):
        with pytest.raises(UserError, match=r"run.json: written by another version of Calotype \(format 1, ") as error:
            use()
        assert "\n" not in str(error.value)


def test_relative_paths_from_another_directory(image_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from calotype.rerun import rerun

    more = ["dataset=image_folder", "dataset.root=pictures", "data.preprocess.size=8", "trainer.max_epochs=2"]
    whole = calotype.run([*SMALL, "hydra.run.dir=runs/a", *more])
    cut_off(whole.run_dir)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert calotype.run(["resume=../runs/a"]).metrics == whole.metrics
    assert rerun(Path("../runs/a"))
    assert Path.cwd() == elsewhere

    # Another place is given as it is typed here, and holds the same images.
    cut_off(whole.run_dir)
    shutil.move(image_root, elsewhere / "moved")
    assert calotype.run(["resume=../runs/a", "dataset.root=moved"]).metrics == whole.metrics
    cut_off(whole.run_dir)
    next((elsewhere / "moved").rglob("3.png")).unlink()
    with pytest.raises(UserError, match="the data is not what this run was trained on"):
        calotype.run(["resume=../runs/a"])


def test_a_place_that_others_lie_below_moves_them_along(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    config = calotype_config("dataset=mnist", "paths.data_dir=/old/data")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    cfg, changes = changed_config(folder, ["paths.data_dir=new"], {}, tmp_path)
    assert cfg.dataset.root == cfg.paths.data_dir == str(tmp_path / "new")
    assert {change.key for change in changes} == {"paths.data_dir", "dataset.root"}


def calotype_config(*overrides: str) -> dict[str, Any]:
    from calotype.compose import compose_config
    from calotype.schema import to_plain

    return to_plain(compose_config(overrides))


def test_the_record_says_why_and_how_long(finished: Path) -> None:
    told = record(finished)
    assert (told["format"], told["ended_by"], told["epochs"]) == (2, "max_epochs", 3)
    assert told["steps"] == 3 * 19
    assert set(told["seconds"]) == {"start_up", "data", "fit", "validation", "test", "pictures"}
    assert all(value >= 0 for value in told["seconds"].values())
    assert told["images_per_second"] > 0
    log = (finished / "run.log").read_text()
    assert "trained parameters on cpu" in log
    assert "epoch 3/3" in log
    assert (finished / "metrics.csv").read_text().splitlines()[0] == "step,epoch,name,value,seconds"


def test_the_log_has_the_whole_traceback_and_the_message_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"training diverged .* \(a/run.log\)$"):
        calotype.run([*SMALL, "hydra.run.dir=a", "optimizer=sgd", "optimizer.lr=1e30"])
    assert record(tmp_path / "a")["status"] == "failed"
    log = (tmp_path / "a" / "run.log").read_text()
    assert "Traceback (most recent call last)" in log
    assert "calotype.types.UserError: training diverged" in log


@pytest.mark.parametrize("optimizer", ["NAdam", "RAdam", "Adamax"])
def test_no_omegaconf_object_reaches_a_checkpoint(optimizer: str, tmp_path: Path) -> None:
    more = [f"optimizer._target_=torch.optim.{optimizer}", "optimizer.betas=[0.8,0.99]", "trainer.max_epochs=1"]
    folder = tmp_path / "a"
    result = calotype.run(options(folder, *more))
    group = result.module.trainer.optimizers[0].param_groups[0]
    assert type(group["betas"]) is list
    cut_off(folder)
    assert calotype.run([f"resume={folder}", "trainer.max_epochs=2"]).metrics
    assert optimizer in ("RAdam", "Adamax") or isinstance(result.module.trainer.optimizers[0], NAdam)


def test_init_from_takes_what_fits(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["data.classes=[0,1,2]", "trainer.max_epochs=1", "trainer.limit_train_batches=0.0", f"init_from={finished}"]
    result = calotype.run(options(tmp_path / "b", *more))
    printed = capsys.readouterr().out
    stored = read_checkpoint(finished / "checkpoints" / "best.ckpt")["state_dict"]
    own = result.module.state_dict()
    left = record(tmp_path / "b")["init_from"]["left"]
    assert left == sorted(name for name in own if own[name].shape != stored[name].shape)
    assert left
    assert all(torch.equal(own[name], stored[name]) for name in own if name not in left and "num_batches" not in name)
    assert f"{len(own) - len(left)} of {len(own)} tensors taken from best.ckpt" in printed
    assert f"not in it, as they were: {', '.join(left)}" in printed

    with pytest.raises(ConfigError, match=r"init_from=nowhere: not a run folder"):
        calotype.run(options(tmp_path / "c", "init_from=nowhere"))
    with pytest.raises(UserError, match=r"none of its .* tensors fits"):
        calotype.run(options(tmp_path / "d", "model=mlp", "model.widths=[16]", f"init_from={finished}"))


def test_a_run_folder_alone_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the package of the weights it started from nor a network is there any more."""
    import socket

    lite = ["model=efficientnet_lite0", "model.num_blocks=1", "model.grid=1", "trainer.max_epochs=1"]
    quick = ["hardware=cpu", "logger=none", "trainer.limit_train_batches=2", "data.batch_size=8"]
    classifier = calotype.run([*lite, *quick, "hydra.run.dir=classifier"])
    style = ["task=style_transfer", "data.size=48", "data.steps_per_epoch=4", "task.steps=8", "hardware=cpu", "logger=none"]
    stylized = calotype.run([*style, "hydra.run.dir=style"])

    def closed(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(socket, "socket", closed)
    monkeypatch.setattr("calotype.models.efficientnet_lite0.WEIGHTS_PACKAGE", "not_installed_here")
    module = calotype.load("classifier")
    assert torch.equal(module.model.features.stem[0].weight, classifier.module.model.features.stem[0].weight)
    for name, before in (("classifier", classifier), ("style", stylized)):
        cut_off(tmp_path / name)
        assert calotype.run([f"resume={name}"]).metrics == before.metrics
    assert calotype.load("style").pixels.shape == stylized.module.pixels.shape


def test_fetch_brings_downloads_into_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a run with the same folder finds them there."""
    import torchvision

    from calotype.cli import main

    monkeypatch.delenv("TORCH_HOME", raising=False)
    state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    fetched = []

    def load(url: str, *args: object, **kwargs: object) -> dict[str, Any]:
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
        if not path.is_file():
            fetched.append(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, path)
        return torch.load(path)

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", load)
    wanted = ["model=torchvision", "model.name=squeezenet1_1", "model.weights=DEFAULT", "paths.data_dir=stuff"]
    main(["fetch", *wanted])
    printed = capsys.readouterr().out
    (path,) = fetched
    assert path.resolve().is_relative_to(tmp_path / "stuff" / "weights")
    assert f"fetched  stuff/weights/checkpoints/{path.name}" in printed

    calotype.run([*wanted, "hardware=cpu", "logger=none", "debug=fast", "data.batch_size=4", "data.preprocess.size=32"])
    assert fetched == [path]
    with pytest.raises(SystemExit):
        main(["fetch"])
    assert "fetch takes the overrides of a run" in capsys.readouterr().err


def test_an_empty_record_is_a_run_that_has_not_begun(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "run.json").touch()
    assert calotype.run(options(folder, "trainer.max_epochs=1")).metrics
    assert os.stat(folder / "run.json").st_size > 0

"""Overrides that cannot be meant are refused in one line that names what was typed, on the command line and in Python."""

from __future__ import annotations

from pathlib import Path

import pytest

import calotype
from calotype.check import ConfigError
from calotype.cli import main

REFUSED = {
    "task=": "task=: give the name of a choice, as task=classification",
    "dataset=": "dataset=: give the name of a choice, as dataset=digits",
    "data=5": "data=5: a group takes the name of a choice, as data=labelled",
    "=3": "=3: has no key; settings are typed as KEY=VALUE, as seed=1",
    "hydra=null": "hydra=null: the settings of Hydra are typed one by one, as hydra.run.dir=FOLDER",
    "optimizer=null": "optimizer=null: a group takes the name of a choice, as optimizer=adam; ~optimizer leaves it out",
    "scheduler=null": "scheduler=null: a group takes the name of a choice, as scheduler=none; scheduler=none leaves it out",
    "experiment=null": "experiment=null: a group takes the name of a choice, as experiment=cgan/augmentation; ~experiment leaves it out",
    "hydra/launcher=": "hydra/launcher=: give the name of a choice, as hydra/launcher=basic",
    "experiment=[gan/ring]": "experiment=[gan/ring]: a group takes the name of a choice, as experiment=cgan/augmentation",
    "optimizer=[adam]": "optimizer=[adam]: a group takes the name of a choice, as optimizer=adam",
    "optimizer={lr:1}": "optimizer={lr:1}: a group takes the name of a choice, as optimizer=adam",
    "logger=[tensorboard,none]": "logger=[tensorboard,none]: a list takes the names of choices, without none, as logger=[tensorboard]",
    "callbacks=[1]": "callbacks=[1]: a list takes the names of choices, without none, as callbacks=[default]",
    "~task": "task: must be given, as task=classification",
    "~hardware": "hardware: must be given, as hardware=auto",
    "~seed": "seed: must be given; leave ~seed out",
    "~name": "name: must be given; leave ~name out",
    "~trainer": "trainer: must be given; leave ~trainer out",
    "~paths.output_dir": "paths.output_dir: must be given; leave ~paths.output_dir out",
    "~foo": "~foo: there is no such key to take away (all keys: --cfg job)",
    "~model.foo": "~model.foo: there is no such key to take away (all keys: --cfg job)",
    "seed==3": "seed==3: one = is enough, as seed=3",
    "seed=0,1": "seed=0,1: several values are a sweep: add -m",
    "scheduler=plateau,step": "scheduler=plateau,step: several values are a sweep: add -m",
    "foo": "foo: is no setting; settings are typed as KEY=VALUE, as seed=1 (all keys: --cfg job)",
    "data.classes=[3,8": "data.classes=[3,8: a bracket is opened and not closed, or closed and not opened",
    "test_with='best": "test_with='best: a quotation mark is opened and not closed",
    "test_with=a b)": "test_with=a b): a bracket is opened and not closed, or closed and not opened",
    "optimizer.learning_rate=1": "optimizer.learning_rate: no such key in optimizer; did you mean lr? (all keys: --cfg job)",
    "+optimizer.learning_rate=1": "optimizer.learning_rate: Adam takes no such argument; did you mean lr?",
    "lr=1": "lr: no such key in the config; did you mean optimizer.lr? (all keys: --cfg job)",
    "epochs=1": "epochs: no such key in the config; did you mean trainer.max_epochs? (all keys: --cfg job)",
    "trainer.epochs=1": "trainer.epochs: no such key in trainer; did you mean max_epochs? (all keys: --cfg job)",
    "batch_size=1": "batch_size: no such key in the config; did you mean data.batch_size? (all keys: --cfg job)",
    "data.preprocess=5": "data.preprocess=5: must be a group with _target_",
    "optimizer._partial_=false": "optimizer._partial_: must be true, since the task gives params to it; leave the override of it out",
    "~model._partial_": "model._partial_: must be true, since the task gives image_shape to it; leave the override of it out",
    "modle=mlp": "modle: no such key in the config; did you mean model? (all keys: --cfg job)",
    "model=mpl": "model=mpl: no such choice; did you mean mlp? (all choices: --help)",
    "optimizer.ls=1": "optimizer.ls: no such key in optimizer; did you mean lr? (all keys: --cfg job)",
}


@pytest.mark.parametrize("override", REFUSED)
def test_refused(override: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([override])
    assert (left.value.code, capsys.readouterr().err) == (2, f"calotype: {REFUSED[override]}\n")
    with pytest.raises(ConfigError) as error:
        calotype.run([override])
    assert str(error.value) == REFUSED[override]
    assert not list(Path().iterdir())


@pytest.mark.parametrize("overrides", ["callbacks=[default,early_stopping]", "~experiment", "~model.dropout", "-m seed=0,1 optimizer=adam"])
def test_taken(overrides: str) -> None:
    main([*overrides.split(), "dry_run=true"])


def test_key_that_an_experiment_takes_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "study.yaml").write_text("defaults: [config, _self_]\nname: null\n")
    with pytest.raises(SystemExit):
        main(["--config-dir", str(tmp_path / "conf"), "--config-name", "study"])
    assert "name=null: must be text" in capsys.readouterr().err

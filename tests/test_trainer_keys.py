"""A key of the trainer is obeyed by a task, or refused before anything is built, with what holds in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

import calotype
from calotype.check import ConfigError, check
from calotype.cli import main
from calotype.compose import compose_config
from calotype.trainer_keys import OFF, ignored_by, typed_keys
from helpers import FAST

FACES = ["dataset=synthetic_faces", "dataset.num_identities=12", "dataset.images_per_identity=4"]
LDA = ["task=siamese", *FACES, "model=embedding/lda", "task/head=squared_l2", "loss=pair_contrastive"]
FITTED = {"linear": ["model=linear"], "pca": ["task=facenet", *FACES, "model=embedding/pca"], "lda": LDA}
REFUSED = [
    (["task=dip"], "max_epochs=3", "task.iterations"),
    (["task=dip"], "max_steps=3", "task.iterations"),
    (["task=dip"], "val_check_interval=1", "no validation"),
    (["task=style_transfer"], "max_epochs=3", "task.steps"),
    (["task=visualise"], "max_epochs=3", "task.steps"),
    (["task=fast_style"], "check_val_every_n_epoch=2", "no validation"),
    (["task=efros_leung"], "gradient_clip_val=1", "learns"),
    (["task=gan"], "limit_val_batches=1", "task.samples"),
    (["task=cgan"], "limit_test_batches=1", "task.samples"),
    *((FITTED[model], key, "fitted") for model in FITTED for key in ("max_epochs=3", "accumulate_grad_batches=2", "min_steps=9")),
    (FITTED["pca"], "limit_train_batches=1", "all training images"),
    (FITTED["linear"], "val_check_interval=1", "fitted"),
    (FITTED["linear"], "overfit_batches=1", "fitted"),
    (["task=visualise"], "overfit_batches=1", "one picture"),
]  # fmt: skip


def checked(*overrides: str) -> None:
    check(compose_config(overrides), typed=overrides)


@pytest.mark.parametrize(("options", "key", "why"), REFUSED, ids=lambda value: value if isinstance(value, str) else value[0])
def test_what_would_not_be_obeyed_is_refused(options: list[str], key: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"^trainer\.{key}: task=.* does not obey it, .*{why}") as error:
        checked(*options, f"trainer.{key}")
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    "options", [["task=dip"], FITTED["linear"], FITTED["pca"], ["task=efros_leung"], ["task=gan"]], ids=lambda o: o[-1]
)
def test_presets_and_values_that_ask_for_nothing_are_let_pass(options: list[str]) -> None:
    checked(*options, "debug=fast")
    checked(*options, "debug=profile", "trainer.gradient_clip_val=null", "trainer.log_every_n_steps=10")
    checked(*options, "trainer.limit_train_batches=null", "trainer.min_epochs=null", "trainer.max_epochs=-1")


@pytest.mark.parametrize("key", ["optimizer.lr=1e-3", "optimizer=sgd", "scheduler=step"])
@pytest.mark.parametrize("model", FITTED)
def test_a_fitted_model_has_no_optimizer(model: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key.partition('=')[0]}: .* is fitted at once; leave it out$"):
        checked(*FITTED[model], key)
    checked(*FITTED[model], "scheduler=none")


def test_what_only_a_fitted_model_does_not_obey() -> None:
    checked("trainer.max_epochs=3", "trainer.limit_train_batches=1", "trainer.gradient_clip_val=1")
    checked("model=linear", "trainer.limit_train_batches=1", "trainer.max_epochs=1")
    checked("experiment=classification/digits", "model=linear")  # the recipe sets trainer.max_epochs


def test_a_training_that_has_ended_goes_no_further_by_a_preset_either(tmp_path: Path) -> None:
    """Dip's counters end where its iterations do: it ended in an IndexError."""
    with pytest.raises(ConfigError, match=r"trainer.min_steps=9: task=dip does not obey it"):
        check(compose_config(["task=dip", "trainer.min_steps=9"]))


def test_keys_that_others_make_void() -> None:
    with pytest.raises(ConfigError, match=r"trainer.min_epochs=4: more than trainer.max_epochs=2"):
        checked("trainer.min_epochs=4", "trainer.max_epochs=2")
    with pytest.raises(ConfigError, match=r"trainer.limit_train_batches=3: trainer.fast_dev_run sets it"):
        checked("trainer.fast_dev_run=true", "trainer.limit_train_batches=3")
    with pytest.raises(ConfigError, match=r"trainer.limit_val_batches=3: trainer.overfit_batches sets it"):
        checked("trainer.overfit_batches=2", "trainer.limit_val_batches=3")
    checked("trainer.fast_dev_run=true", "trainer.overfit_batches=2", "debug=fast")


def test_the_command_line_and_python_refuse_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["task=dip", "trainer.max_epochs=3", "dry_run=true"])
    assert left.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(ConfigError, match=r"trainer.max_epochs=3"):
        calotype.run(["model=linear", "trainer.max_epochs=3", "dry_run=true"])


def test_a_sweep_refuses_what_no_job_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    """A study of a baseline beside a network gives the network its epochs."""
    sweep = ["-m", "hydra.sweep.dir=s", "dry_run=true", "trainer.max_epochs=3"]
    main([*sweep, "model=linear,mlp"])
    assert "2 new" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*sweep, "model=linear,nearest_neighbour"])
    assert "trainer.max_epochs=3: task=classification does not obey it" in capsys.readouterr().err


def test_a_resumed_run_refuses_what_is_typed_then(tmp_path: Path) -> None:
    fast = [o for o in FAST if not o.startswith(("model", "experiment", "trainer", "~callbacks.pictures"))]
    folder = calotype.run(["model=linear", *fast, f"hydra.run.dir={tmp_path}/run"]).run_dir
    with pytest.raises(ConfigError, match=r"trainer.max_epochs=40: task=classification does not obey it"):
        calotype.run([f"resume={folder}", "trainer.max_epochs=40"])


def test_without_test_batches_there_is_no_test(tmp_path: Path) -> None:
    """It ended in an AttributeError after the training."""
    metrics = calotype.run([*FAST, "trainer.limit_test_batches=0", f"hydra.run.dir={tmp_path}/run"]).metrics
    assert metrics
    assert not any(name.startswith("test/") for name in metrics)


def test_every_declaration_names_a_key_and_its_off_value() -> None:
    import calotype.tasks.classification as classification
    import calotype.tasks.dip as dip
    from calotype.models.baselines import LinearBaseline
    from calotype.settings import TrainerSettings

    ignored = {**ignored_by(dip.DeepImagePrior, None), **ignored_by(classification.Classification, LinearBaseline)}
    assert set(ignored) <= set(OFF) <= set(TrainerSettings.model_fields)
    assert ignored_by(classification.Classification, None) == {}
    assert typed_keys(["+trainer.max_epochs=3", "trainer={min_steps:1,max_steps: 2}", "seed=1"]) == {"max_epochs", "min_steps", "max_steps"}

"""Lists of options: those that derive from others and those of a user's own folders are among them, with what they really build."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from calotype.choices import Choices
from calotype.cli import main
from calotype.schema import conf_dir

DERIVED = {"model": ["gan/sagan", "gan/sagan_light", "embedding/small_resnet_wide", "dip/hourglass_light"], "loss": ["triplet_soft"]}
MAX_LINE = 200


@pytest.fixture
def mine(tmp_path: Path) -> str:
    """A folder of configs with options that derive from others, in several ways, and one whose package is not there."""
    loss = tmp_path / "mine" / "loss"
    (loss / "own").mkdir(parents=True)
    (loss / "own" / "soft_triplets.yaml").write_text("defaults:\n  - /loss/triplet@_here_\n  - _self_\n\nmargin: soft\n")
    (loss / "wide_triplet.yaml").write_text("defaults:\n  - triplet\n\nmargin: 1.0\n")
    (loss / "contrast_again.yaml").write_text("_target_: calotype.losses.triplet.Triplet\ndefaults:\n  - _self_\n  - contrastive\n")
    (loss / "absent.yaml").write_text("_target_: not_there.Loss\n")
    return str(tmp_path / "mine")


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(["dry_run=true", *arguments])
    error = capsys.readouterr().err
    assert left.value.code == 2
    assert error.count("\n") == 1
    assert len(error) <= MAX_LINE
    return error


@pytest.mark.parametrize("group", DERIVED)
def test_target_is_that_of_the_composed_config(group: str) -> None:
    choices = Choices()
    options = choices.options(group)
    assert set(DERIVED[group]) <= set(options)
    assert not [option for option in options if option.startswith("features/")]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for option in DERIVED[group]:
            assert choices.target(group, option) == compose("config", [f"{group}={option}"])[group]["_target_"]
    # No option is without: each of these groups builds something.
    assert [option for option in options if choices.target(group, option) is None] == []


def test_options_of_the_user_s_own_folder(mine: str) -> None:
    choices = Choices.of_command(["seed=1", "--config-dir", mine])
    assert {"own/soft_triplets", "wide_triplet", "contrast_again", "absent", "triplet"} <= set(choices.options("loss"))
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        path = f"hydra.searchpath=[file://{mine}]"
        for option in ("own/soft_triplets", "wide_triplet", "contrast_again"):
            composed = compose("config", [path, f"loss={option}"]).loss
            assert choices.target("loss", option) == OmegaConf.select(composed, "_target_")
    assert Choices.of_command([path]).options("loss") == choices.options("loss")


def test_refusals_list_them(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    own = ("--config-dir", mine)
    assert "task=facenet takes loss=contrastive | " in refusal(capsys, "task=facenet", "loss=pair_contrastive")
    assert "contrast_again" in refusal(capsys, *own, "task=facenet", "loss=pair_contrastive")
    assert "takes model=embedding/mlp | " in refusal(capsys, "task=facenet", "model=mlp")
    assert "did you mean own/soft_triplets" in refusal(capsys, *own, "loss=own/soft_triplet")
    assert "did you mean wide_triplet" in refusal(capsys, *own, "loss=wide_triplets")
    assert "did you mean wide_triplet" in refusal(capsys, f"hydra.searchpath=[file://{mine}]", "loss=wide_triplets")
    assert "as loss/own=soft_triplets" in refusal(capsys, *own, "loss/own=[1]")
    assert "no such choice" in refusal(capsys, f"model={'x' * 500}")


def test_options_may_stand_between_overrides(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["dry_run=true", "--config-dir", mine, "task=facenet", "loss=own/soft_triplets"])
    assert "the config is right" in capsys.readouterr().out

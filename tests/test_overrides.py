"""Names of files and classes that Hydra's grammar would refuse or read as numbers: typed as they are, kept as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

import calotype
from calotype.apply import classify
from calotype.cli import main
from calotype.cli_apply import apply_main
from calotype.cli_report import report_main, rerun_main
from calotype.compose import compose_config
from calotype.overrides import quoted, value_of
from calotype.places import expanded
from calotype.records import read_metrics, read_record

NAMES = (
    *(
        "holiday (1)",
        "a=b",
        "#hash",
        "it's",
        'say "x"',
        "a,b",
        "a:b",
        "{x}",
        "50%$#$",
        "$HOME",
        "café",
        "猫",
        "-dash",
        "~tilde",
        " lead",
        "trail ",
    ),
    *(
        "1.50",
        "true",
        "1e3",
        "yes",
        "back\\slash",
        "end\\",
        "a\\'b",
        "@at",
        "a;b&c|d",
        "x*?",
        "\U0001f600",
        "a'\"b",
        "[x]",
        "'quoted'",
        "choice(a,b)",
    ),
)
CLASSES = ("true", "1.50", "null", "1e3", "~", "yes", "猫", "50%$#$", "a, b=c", "$x^$", "_{x}")
SMALL = ("dataset=image_folder", "dataset.channels=1", "model=mlp", "model.widths=[8]", "hardware=cpu", "hardware.num_threads=1")
FAST = ("trainer.max_epochs=1", "data.batch_size=16", "logger=none")


@pytest.mark.parametrize("name", NAMES)
def test_names_of_files_reach_the_config(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    for value in (name, f"{tmp_path}/{name}"):
        overrides = quoted([f"dataset.root={value}", "dataset=image_folder"])
        assert quoted(overrides) == overrides or name == "'quoted'"
        assert compose_config([f"dataset.root={value}", "dataset=image_folder"]).dataset.root == value
        assert value_of(overrides[0]) == value


@pytest.mark.parametrize("name", [name for name in NAMES if name != "'quoted'"])
def test_name_of_a_run_is_text(name: str) -> None:
    assert compose_config([f"name={name}"]).name == name


def test_hydra_s_own_language_stays() -> None:
    own = [
        "seed=1",
        "trainer.max_epochs=3,4",
        "-m",
        "dataset.root=a,b",
        "~loss",
        "optimizer.lr=1e-3",
        "task.classifier=auto",
        "resume=null",
    ]
    own += ["data.style=[a.png,b.png]", "dataset.root=${paths.data_dir}/x", "dataset.root='a b'", "+model.widths=[1,2]", "model=mlp"]
    assert quoted(own) == own
    assert quoted(["data.classes=[1.50,true, b c]", "data.positive=1.50", "data.classes=['a', b]"]) == [
        "data.classes=['1.50','true','b c']",
        "data.positive='1.50'",
        "data.classes=['a', b]",
    ]


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert quoted(["paths.output_dir=~/runs", "resume=~", "name=~/x"]) == [
        f"paths.output_dir={tmp_path}/runs",
        f"resume={tmp_path}",
        "name='~/x'",
    ]
    assert expanded("~nobody_of_this_name/x") == Path("~nobody_of_this_name/x")
    assert expanded("a/~") == Path("a/~")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Images of classes whose names YAML, Hydra, a shell or a formula would read as something else."""
    rng = np.random.RandomState(0)
    root = tmp_path / "my (odd) = 'pictures' #1, é"
    for number, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i in range(5):
            pixels = np.clip(rng.normal(10 + 22 * number, 3, (8, 8)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i} (1)=x.png")
    return root


def test_classes_of_odd_names_stay_text(odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run (1) = x"
    main([*SMALL, *FAST, f"dataset.root={odd.name}", f"hydra.run.dir={run.name}", "name=my, (run) #1"])
    recalls = {name.removeprefix("test/recall/") for name in read_metrics(run) if name.startswith("test/recall/")}
    assert recalls == set(CLASSES)
    assert read_record(run)["name"] == "my, (run) #1"
    assert OmegaConf.load(run / "config.yaml").dataset.root == odd.name

    image = odd / "~" / "0 (1)=x.png"
    ((path, labels),) = classify(run, [image], top=len(CLASSES))
    assert (Path(path), {label for label, _ in labels}) == (image, set(CLASSES))
    capsys.readouterr()
    report_main([run.name, "--page", "page (1).html"])
    assert "test/recall/50%$#$" in Path("page (1).html").read_text()
    capsys.readouterr()
    rerun_main([run.name, "--out", "again (1)"])
    assert "metrics are the same to the last bit" in capsys.readouterr().out

    main([f"resume={run.name}", "trainer.max_epochs=2", "hydra.run.dir=longer (1)"])
    assert json.loads(Path("longer (1)/run.json").read_text())["parent"] == str(run)


def test_one_class_against_the_rest(odd: Path) -> None:
    main([*SMALL, *FAST, f"dataset.root={odd.name}", "data.positive=1.50", "hydra.run.dir=positive"])
    assert {"test/recall/1.50", "test/recall/rest"} <= set(read_metrics(Path("positive")))
    main([*SMALL, *FAST, f"dataset.root={odd.name}", "data.classes=[1.50,true,null,1e3]", "hydra.run.dir=four"])
    assert {"test/recall/1.50", "test/recall/true", "test/recall/null", "test/recall/1e3"} <= set(read_metrics(Path("four")))


def test_home_in_files_and_commands(
    image_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    text = (
        "# @package _global_\ndefaults:\n  - override /dataset: image_folder\npaths:\n  output_dir: ~/runs\ndataset:\n  root: ~/pictures\n"
    )
    (tmp_path / "conf" / "experiment" / "home.yaml").write_text(text)
    tiny = ("model=mlp", "model.widths=[8]", "hardware=cpu", "data.preprocess.size=8", *FAST)
    main(["--config-dir", "conf", "experiment=home", *tiny])
    main(["--config-dir", "conf", "experiment=home", *tiny, "-m", "seed=0"])
    assert not (tmp_path / "~").exists()
    (run,) = (tmp_path / "runs" / "classification" / "default").iterdir()
    assert len(list((tmp_path / "runs" / "sweeps").glob("*/*/metrics.json"))) == 1

    capsys.readouterr()
    apply_main([f"~/{run.relative_to(tmp_path)}", "classify", "~/pictures/dark/0.png"])
    assert capsys.readouterr().out.startswith(f"{image_root}/dark/0.png\t")
    report_main([f"~/{run.relative_to(tmp_path)}"])
    assert calotype.load(f"~/{run.relative_to(tmp_path)}").spec.class_names == ("bright", "dark")
    with pytest.raises(SystemExit) as left:
        main(["resume=~nobody_of_this_name/x"])
    assert left.value.code == 2

"""What a user types: help, typos, one line for every mistake, exit codes, the final table."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import calotype
from calotype.cli import _report, main
from calotype.cli_apply import apply_main
from calotype.runner import Result

FAST = ["model.widths=[4,8]", "debug=fast", "hardware=cpu", "logger=none"]


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """Run, expect the exit code and one line on stderr, no folder that looks like a run; the line."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == code
    error = capsys.readouterr().err
    assert error.startswith("calotype: ")
    assert error.count("\n") == 1, error
    assert not list(Path.cwd().rglob("metrics.json"))
    if code == 2:
        assert not (Path.cwd() / "outputs").exists()
    return error


def test_runs_and_prints_table_and_folder(capsys: pytest.CaptureFixture[str]) -> None:
    main([*FAST, "seed=0", "name=mine"])
    out = capsys.readouterr().out
    assert "epoch 1/1  " in out
    (folder,) = Path("outputs/classification/mine").iterdir()
    assert f"run folder  {folder}" in out
    figures = json.loads((folder / "metrics.json").read_text())
    assert f"test/accuracy           {figures['test/accuracy']:.4f}" in out
    assert json.loads((folder / "run.json").read_text())["seed"] == 0
    assert json.loads((folder / "run.json").read_text())["overrides"] == [*FAST, "seed=0", "name=mine"]


def test_films_are_in_the_list_of_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    for name in ("samples.png", "film.gif", "restored.tif"):
        (tmp_path / "images" / name).touch()
    _report(Result({}, tmp_path, object()))
    assert [line.rpartition("/")[2] for line in capsys.readouterr().out.splitlines()[:-1]] == ["film.gif", "samples.png"]


TYPOS = {
    "loss.label_smothing=0.1": "loss.label_smothing: no such key in loss; did you mean label_smoothing?",
    "modle=face_cnn": "modle: no such key in the config; did you mean model?",
    "dataset=mnits": "dataset=mnits: no such choice; did you mean mnist?",
    "experiment=classification/digts": "did you mean classification/digits or ",
    "task.flip_tets=true": "task.flip_tets: no such key in task; did you mean flip_test?",
    "seed=abc": "seed=abc: must be a whole number",
    "logger=null": "logger=none",
    "nonsense": "nonsense: is no setting; settings are typed as KEY=VALUE",
    "optimizer.lr=abc": "optimizer.lr=abc: must be a number > 0\n",
    "--seed": "--seed: no such option",
    "dataset=image_folder": "dataset.root: must be given",
    "loss.label_smoothing=abc": "must be a number >= 0 and < 1",
    "resume=nowhere": "no such folder",
    "--dry-run": "--dry-run: no such option; did you mean dry_run=true?",
    "--mutirun": "--mutirun: no such option; did you mean --multirun?",
    "trainer.limit_train_batches=some": "trainer.limit_train_batches=some: must be a whole number >= 0, a number >= 0 and <= 1 or null",
    "hydra.run.dir=/proc/nowhere": "hydra.run.dir: /proc/nowhere: ",
}


@pytest.mark.parametrize("argument", TYPOS)
def test_typos(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert TYPOS[argument] in fails(capsys, argument)


MISTAKEN_FILES = {
    "trainer:\n  max_epoch: 3\n": "trainer.max_epoch: no such key in trainer; did you mean max_epochs?",
    "modell: 3\n": "modell: no such key in the config; did you mean model?",
    "trainer:\n  max_epochs: many\n": "trainer.max_epochs=many: must be a whole number >= 1, -1 or null",
    "defaults:\n  - override /model: mpl\n": "model=mpl: no such choice; did you mean mlp? (all choices: --help)",
    "loss:\n  label_smothing: 0.1\n": "loss.label_smothing: CrossEntropy takes no such argument; did you mean label_smoothing?",
    "a: [1\nb: {": "mine.yaml, line ",
}


@pytest.mark.parametrize("text", MISTAKEN_FILES)
def test_mistakes_in_an_experiment_file(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\n" + text)
    assert MISTAKEN_FILES[text] in fails(capsys, "--config-dir", str(tmp_path / "conf"), "experiment=mine")


def test_found_while_running(capsys: pytest.CaptureFixture[str], image_root: Path) -> None:
    nesterov = "optimizer: SGD: Nesterov momentum requires a momentum"
    assert nesterov in fails(capsys, "optimizer=sgd", "optimizer.momentum=0", *FAST, code=1)
    shutil.rmtree("outputs")
    folder = ["dataset=image_folder", f"dataset.root={image_root}", *FAST]
    assert "no folder data/lfw" in fails(capsys, "dataset=lfw", *FAST, code=1)
    (run,) = Path("outputs/classification/default").iterdir()
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "failed"
    assert "data/lfw" in record["error"]
    (image_root / "dark" / "text.png").write_text("hello")
    assert "text.png: not an image" in fails(capsys, *folder, code=1)
    (image_root / "dark" / "text.png").unlink()
    whole = (image_root / "dark" / "0.png").read_bytes()
    (image_root / "dark" / "0.png").write_bytes(whole[:-200])
    assert "dark/0.png: " in fails(capsys, *folder, code=1)
    (image_root / "dark" / "0.png").write_bytes(whole)
    (image_root / "lone").mkdir()
    Image.new("RGB", (20, 16)).save(image_root / "lone" / "0.png")
    assert "class 'lone' has 1 image(s), the split needs 3" in fails(capsys, *folder, code=1)
    Image.new("RGB", (20, 16)).save(image_root / "lone" / "1.png")
    (image_root / "lone" / "0.png").unlink()
    (image_root / "lone" / "1.png").unlink()
    assert "lone: the class has no images" in fails(capsys, *folder, code=1)
    (image_root / "lone").rmdir()
    for number in range(1, 12):  # the first is decoded before training starts, the others by a worker process in the middle
        (image_root / "dark" / f"{number}.png").write_bytes(whole[:-200])
    lazy = fails(capsys, *folder, "data.ram_budget_mb=0", "data.num_workers=1", "data.preprocess.size=16", code=1)
    assert lazy.startswith(f"calotype: {image_root}/dark/")
    only = ["dataset=image_folder", f"dataset.root={image_root / 'dark'}", *FAST]
    assert "has no labels" in fails(capsys, *only, code=1)


def test_images_of_unlike_modes_are_read(image_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.full((16, 20), 50 * 257, dtype=np.uint16)
    Image.fromarray(pixels).save(image_root / "dark" / "deep.png")
    Image.new("CMYK", (20, 16), (0, 0, 0, 200)).save(image_root / "dark" / "cmyk.jpg")
    Image.new("RGB", (20, 16), (200, 200, 200)).convert("P").save(image_root / "bright" / "palette.png")
    main(["dataset=image_folder", f"dataset.root={image_root}", *FAST, "trainer.max_epochs=3"])
    assert "test/accuracy" in capsys.readouterr().out


def test_overrides_are_kept_as_they_were_typed(tmp_path: Path) -> None:
    main([*FAST, "data.split_seed='${seed}'", f"hydra.run.dir={tmp_path}/run"])
    assert "data.split_seed='${seed}'" in json.loads((tmp_path / "run/run.json").read_text())["overrides"]


def test_sweep_runs_every_job(capsys: pytest.CaptureFixture[str]) -> None:
    main(["-m", "seed=0,1", *FAST])
    (sweep,) = Path("outputs/sweeps").iterdir()
    runs = list(sweep.glob("*/run.json"))
    assert sorted(json.loads(path.read_text())["seed"] for path in runs) == [0, 1]
    assert all(json.loads(path.read_text())["status"] == "finished" for path in runs)


def test_sweep_with_a_job_that_cannot_work_is_refused_before_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    error = fails(capsys, "-m", "seed=0,1", "loss.label_smoothing=0.1,much", *FAST)
    assert "job 2 of 4 (seed=0 loss.label_smoothing=much " in error
    assert "loss.label_smoothing=much: must be a number" in error
    assert "job 2 of 2 (model=nearest " in fails(capsys, "-m", "model=mlp,nearest", "debug=fast")


def test_apply(image_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = calotype.run(
        [
            "dataset=image_folder",
            f"dataset.root={image_root}",
            "data.preprocess.size=16",
            "data.batch_size=8",
            "model.widths=[4,8]",
            "hardware=cpu",
            "logger=none",
            "trainer.max_epochs=25",
            "optimizer.lr=0.01",
        ]
    )
    capsys.readouterr()
    rng = np.random.RandomState(1)
    Image.fromarray(np.clip(rng.normal(40, 10, (18, 20)), 0, 255).astype(np.uint8)).save("night.png")
    Image.fromarray(np.clip(rng.normal(190, 20, (16, 20, 3)), 0, 255).astype(np.uint8)).save("day.jpg")
    apply_main([str(result.run_dir), "classify", "night.png", "day.jpg", "--top", "2"])
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["night.png", "day.jpg"]
    assert [row[1].split()[0] for row in rows] == ["dark", "bright"]
    probabilities = [[float(cell.split()[1]) for cell in row[1:]] for row in rows]
    assert all(abs(sum(p) - 1) < 1e-3 and p[0] >= p[1] for p in probabilities)
    for arguments, message in (
        ([str(result.run_dir), "classify", "absent.png"], "absent.png: no such file"),
        ([str(result.run_dir), "classify", "."], ".: a folder; name the images in it"),
        (["nowhere", "classify", "day.jpg"], "nowhere: not a run folder"),
        ([str(result.run_dir), "classify", "day.jpg", "--top", "9"], "--top 9: the run knows 2 classes"),
    ):
        with pytest.raises(SystemExit) as left:
            apply_main(arguments)
        assert left.value.code in (1, 2)
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN", "sampel"], "sampel: no such choice; did you mean sample? (classify, "),
        (["RUN", "sample", "--out", "o", "--temprature", "1"], "--temprature: no such argument; did you mean --temperature?"),
        (["RUN", "sample", "--out", "o", "--temp", "1"], "--temp: no such argument"),
        (["RUN", "sample"], "the following arguments are required: --out"),
        (["RUN", "sample", "--out", "o", "--seed", "9" * 30], "--seed: 9999"),
        (["RUN", "sample", "--out", "o", "--seed", "-1"], "--seed: -1: a whole number from 0 to "),
    ],
)
def test_arguments_of_apply_that_are_wrong(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        apply_main(arguments)
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_apply_sees_what_training_saw(image_root: Path) -> None:
    """The same file gives the same log-probabilities through apply as through the run's own data."""
    from calotype.apply import classify

    options = ["dataset=image_folder", f"dataset.root={image_root}", "data.preprocess.size=12", "data.preprocess.colour=grey", *FAST]
    result = calotype.run(options)
    ((_, [(label, probability)]),) = classify(result.run_dir, [image_root / "dark" / "3.png"])
    module = calotype.load(result.run_dir)
    datamodule = result.module.trainer.datamodule
    index = next(i for i in range(24) if datamodule.dataset.item_name(i) == "dark/3.png")
    want = module(datamodule.image(index)[None].float() / 255).exp()[0]
    assert probability == pytest.approx(want.max().item(), abs=1e-6)
    assert label == module.spec.class_names[want.argmax()]


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["seed=abc"], ["loss.label_smothing=1"], ["dataset=mnits"]])
def test_answers_without_importing_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom calotype.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "print('heavy:', sorted({'torch', 'pytorch_lightning', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heavy: []" in done.stdout

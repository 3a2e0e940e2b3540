"""PixelCNN: figures by hand, a run folder, completion, scoring, resume, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import calotype
from calotype.cli_apply import apply_main
from calotype.generate import complete, sample, score
from calotype.types import UserError

SMALL = ["task=pixelcnn", "dataset=digits", "data.levels=4", "model.width=8", "trainer.max_epochs=2", "hardware=cpu",
         "hardware.num_threads=1", "logger=none", "callbacks.pictures.columns=2", "callbacks.pictures.completions=2"]  # fmt: skip
PLAIN = ["model.blocks=1"]


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    count = iter(range(100))

    def go(*overrides: str):  # type: ignore[no-untyped-def]
        plain = [] if any(o.startswith("model=") for o in overrides) else PLAIN
        return calotype.run([*SMALL, *plain, f"hydra.run.dir={tmp_path}/p{next(count)}", *overrides])

    return go


def pixels(path: str | Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_whole_run_folder(run) -> None:  # type: ignore[no-untyped-def]
    result = run()
    for side in ("val", "test"):
        bits, nats = result.metrics[f"{side}/bits_per_dim"], result.metrics[f"{side}/nll_nats"]
        assert bits == pytest.approx(nats / (64 * math.log(2)), rel=1e-6)
    assert result.metrics["test/bits_per_dim"] < 2  # two bits hold four levels
    assert result.metrics["test/independent_bits_per_dim"] < 2
    names = {p.name for p in (result.run_dir / "images").iterdir()}
    assert {"samples.png", "drawing.gif", "completions.png", "receptive_field.png", "curves.png"} <= names
    with Image.open(result.run_dir / "images/drawing.gif") as film:
        assert film.n_frames == 8  # type: ignore[attr-defined]


def test_samples_have_a_column_for_each_class(run) -> None:  # type: ignore[no-untyped-def]
    result = run("task.conditional=true", "trainer.max_epochs=1", "callbacks.pictures.completions=0")
    shown = pixels(result.run_dir / "images/samples.png")
    assert shown.shape == (2 * 66 + 2, 10 * 66 + 2)
    seven = result.module.draw(20, seed=2, labels=torch.arange(20) % 10)[17, 0]
    assert np.array_equal(shown[68:132:8, 7 * 66 + 2 : 8 * 66 : 8], (seven * 255).round().to(torch.uint8).numpy())


def test_the_likelihood_is_one_over_all_images(run) -> None:  # type: ignore[no-untyped-def]
    """Of all 2^6 images of 2x3 pixels, by the model that was trained."""
    module = run("data.levels=2", "data.preprocess.size=[2,3]", "data.binarise=threshold").module
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6).view(64, 1, 2, 3)
    with torch.no_grad():
        assert torch.exp(-module(every)).sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        ["model=pixelcnn/gated_pixelcnn", "model.dilations=[1,2]", "task.conditional=true"],
        ["model=pixelcnn/pixelcnn_pp", "loss=pixelcnn/logistic_mixture", "model.dilations=[1]", "data.levels=256"],
        ["model=pixelcnn/linear", "model.width=0", "data.levels=16"],
        ["data.preprocess.colour=rgb", "model.width=12", "task.average=0"],
        ["data.levels=2", "data.binarise=dynamic"],
    ],
)
def test_every_kind_learns_and_draws(run, options: list[str]) -> None:  # type: ignore[no-untyped-def]
    result = run(*options, "trainer.max_epochs=1")
    assert result.metrics["test/nll_nats"] > 0
    module = result.module
    fast, full = (module.draw(3, seed=4, method=method) for method in ("fast", "full"))
    assert torch.equal(fast, full)
    assert 0 <= fast.min() <= fast.max() <= 1


def test_a_condition_is_told(run) -> None:  # type: ignore[no-untyped-def]
    module = run("task.conditional=true", "task.average=0", "trainer.max_epochs=4", "optimizer.lr=0.01").module
    first, second = (module.draw(4, seed=1, labels=torch.full((4,), label)) for label in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(module.draw(4, seed=1), module.draw(4, seed=1, labels=torch.tensor([0, 1, 2, 3])))


def test_what_drawn_images_are_worth_to_a_classifier(run) -> None:  # type: ignore[no-untyped-def]
    options = [
        "task.conditional=true",
        "task.classifier_steps=60",
        "model=pixelcnn/gated_pixelcnn",
        "model.width=16",
        "model.dilations=[1,2]",
    ]
    metrics = run(*options, "task.samples=300", "trainer.max_epochs=6", "optimizer.lr=0.02", "data.batch_size=32").metrics
    assert 0.3 < metrics["test/gan_train_accuracy"] <= metrics["test/few_real_accuracy"] + 0.05
    assert "test/gan_train_accuracy" not in run("trainer.max_epochs=1").metrics


def test_apply_sample_complete_score(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    result = run()
    folder, module = result.run_dir, calotype.load(result.run_dir)
    drawn_files = list(sample(folder, 3, tmp_path / "s", seed=5, temperature=0.5))
    assert all(pixels(path).shape == (8, 8) for path in drawn_files[:3])
    photo, mask = tmp_path / "photo.png", tmp_path / "mask.png"
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (8, 8), dtype=np.uint8)).save(photo)
    known = np.full((8, 8), 255, np.uint8)
    known[4:, 2:] = 0
    Image.fromarray(known).save(mask)
    capsys.readouterr()
    apply_main([str(folder), "complete", str(photo), "--mask", str(mask), "--n", "3", "--out", f"{tmp_path}/c"])
    files = capsys.readouterr().out.split()
    assert [Path(f).name for f in files] == ["1.png", "2.png", "3.png", "grid.png"]
    given = np.floor(pixels(photo).astype(float) * 4 / 256) / 3 * 255
    drawn = [pixels(f) for f in files[:3]]
    assert all(np.abs(d - given)[known > 0].max() <= 1 for d in drawn)
    assert any((d != drawn[0]).any() for d in drawn[1:])
    apply_main([str(folder), "score", str(photo), f"{tmp_path}/s/1.png"])
    lines = capsys.readouterr().out.splitlines()
    bits = [float(line.split("\t")[1].split()[0]) for line in lines]
    with torch.no_grad():
        nats = module(torch.from_numpy(given / 255).float()[None, None]).item()
    assert bits[0] == pytest.approx(nats / (64 * math.log(2)), abs=1e-3)
    Image.new("L", (9, 9)).save(tmp_path / "large.png")
    with pytest.raises(SystemExit):
        apply_main([str(folder), "score", str(photo), str(tmp_path / "large.png")])
    assert capsys.readouterr().out == ""  # no figure of the first, where the second can not be used
    assert bits[0] > bits[1]  # noise is the odd one out beside what the model drew itself


def test_temperature_zero_is_greedy_and_said(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    for i, options in enumerate(((), ("model=pixelcnn/pixelcnn_pp", "loss=pixelcnn/logistic_mixture", "model.dilations=[1]"))):
        result = run("trainer.max_epochs=1", *options)
        drawn = [pixels(next(iter(sample(result.run_dir, 1, tmp_path / f"s{i}{seed}", seed=seed, temperature=0)))) for seed in (0, 1)]
        assert np.array_equal(*drawn)
        assert "likeliest level" in capsys.readouterr().err
        fast, full = (result.module.draw(2, seed=4, temperature=0, method=method) for method in ("fast", "full"))
        assert torch.equal(fast, full)


def test_images_of_another_size_when_asked(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    folder = run("trainer.max_epochs=1").run_dir
    photo, mask = tmp_path / "photo.png", tmp_path / "mask.png"
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (24, 16, 3), dtype=np.uint8)).save(photo)
    known = np.full((24, 16), 255, np.uint8)
    known[12:] = 0
    Image.fromarray(known).save(mask)
    capsys.readouterr()
    apply_main([str(folder), "complete", str(photo), "--mask", str(mask), "--n", "2", "--resize", "--out", f"{tmp_path}/c"])
    first, second = (pixels(f) for f in capsys.readouterr().out.split()[:2])
    assert np.array_equal(first[:4], second[:4])
    assert (first[4:] != second[4:]).any()
    apply_main([str(folder), "score", str(photo), "--resize"])
    assert "bits per dimension" in capsys.readouterr().out


def test_bad_requests(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = run("trainer.max_epochs=1").run_dir
    small, white = tmp_path / "small.png", tmp_path / "white.png"
    Image.fromarray(np.zeros((5, 8), np.uint8)).save(small)
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(white)
    colour = tmp_path / "colour.png"
    Image.fromarray(np.tile(np.array([255, 0, 0], np.uint8), (8, 8, 1))).save(colour)
    for call, message in (
        (lambda: complete(folder, white, small, 2, tmp_path / "no"), "the mask is 8x5"),
        (lambda: complete(folder, white, white, 2, tmp_path / "no"), "hides nothing"),
        (lambda: complete(folder, small, white, 2, tmp_path / "no"), "the run models 1x8x8"),
        (lambda: complete(folder, white, small, 2, tmp_path / "no", resize=True), "the mask is 8x5 pixels and the image 8x8"),
        (lambda: score(folder, [tmp_path / "none.png"]), "no such file"),
        (lambda: complete(folder, colour, white, 2, tmp_path / "no"), "3x8x8.*the run models 1x8x8; give --resize"),
        (lambda: score(folder, [small]), "1x5x8.*give --resize"),
        (lambda: sample(folder, 2, tmp_path / "no", temperature=-0.1), "temperature -0.1: a number from 0"),
        (lambda: sample(folder, 2, tmp_path / "no", temperature=math.nan), "temperature nan: a number from 0"),
        (lambda: sample(folder, 2, tmp_path / "no", temperature=math.inf), "temperature inf: a number from 0"),
        (lambda: sample(folder, 2, tmp_path / "no", label="3"), "without classes; use one of task.conditional=true"),
        (lambda: sample(folder, 2, small), "small.png: File exists; give a folder that is new or empty"),
        (lambda: sample(folder, 2, tmp_path), "4 files are in it, which would mix"),
    ):
        with pytest.raises(UserError, match=message):
            list(call())
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["data.levels=1"], r"data\.levels=1"),
        (["data.levels=300"], r"data\.levels=300"),
        (["data.levels=100"], r"data\.levels=100: of a pixel, a power of two"),
        (["loss=pixelcnn/logistic_mixture"], r"takes mixture, and the model gives logits"),
        (["task.classifier_steps=10"], r"set task\.conditional=true"),
        (["task.average=1"], r"task\.average=1"),
        (["dataset=gaussians_2d"], "points"),
        (["data.classes=['3']", "task.conditional=true"], "1 classes"),
    ],
)
def test_bad_options(run, options: list[str], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=message):
        run(*options)


def test_same_seed_same_figures(run) -> None:  # type: ignore[no-untyped-def]
    first, again, other = (run("data.levels=2", f"seed={seed}", "data.split_seed=0") for seed in (0, 0, 1))
    assert first.metrics == again.metrics
    assert first.metrics["test/nll_nats"] != other.metrics["test/nll_nats"]
    # The binarisation is of the split's seed, so the test images are the same ones.
    assert first.metrics["test/independent_bits_per_dim"] == other.metrics["test/independent_bits_per_dim"]


TEXTURE = ["dataset=textures", "dataset.patch=60", "data.piece=10", "hardware=cpu", "hardware.num_threads=1", "logger=none"]
SHORT = ["callbacks.pictures.size=14", "callbacks.pictures.hole=4", "callbacks.pictures.sample=20", "callbacks.pictures.window=5"]


def test_texture_by_both(tmp_path: Path) -> None:
    learned = calotype.run([
        "experiment=pixelcnn/texture", "data.levels=4", "data.pieces=64", "model.width=4", "model.blocks=1", "trainer.max_epochs=1",
        *(o.replace("pictures", "textures") for o in SHORT), *TEXTURE, "dataset.stride=60", f"hydra.run.dir={tmp_path}/t",
    ])  # fmt: skip
    plain = calotype.run(["task=efros_leung", *SHORT, *TEXTURE, "dataset.stride=60", f"hydra.run.dir={tmp_path}/e"])
    assert learned.metrics["test/bits_per_dim"] > 0
    assert plain.metrics == {}
    for result, names in (
        (learned, {"texture", "efros_leung", "comparison", "filled", "completions", "samples"}),
        (plain, {"efros_leung", "comparison", "filled"}),
    ):
        assert names <= {p.stem for p in (result.run_dir / "images").glob("*.png")}
        assert pixels(result.run_dir / "images/efros_leung.png").shape == (14, 14)
        marked = np.abs(pixels(result.run_dir / "images/filled.png")[..., :3].astype(int) - (0xD5, 0x5E, 0x00)).max(2) < 40
        assert marked.sum() > 100  # the hole's frame, in every tile
    assert not (plain.run_dir / "images/texture.png").exists()
    sample = torch.from_numpy(pixels(plain.run_dir / "images/efros_leung.png"))
    assert sample.unique().numel() > 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["callbacks.pictures.window=4"], "window=4: odd"),
        (["callbacks.pictures.hole=14"], "hole=14: above 0 and below size"),
        (["callbacks.pictures.hole=13"], "hole=13: the part of the picture for the test is 12 pixels wide"),
        (["callbacks.pictures.tolerance=-1"], "tolerance=-1"),
        (["callbacks.pictures.sample=3"], "sample=3: not below window"),
    ],
)
def test_textures_that_can_not_be_drawn_are_refused_at_once(options: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        calotype.run(["task=efros_leung", *SHORT, *TEXTURE, "dataset.stride=60", f"hydra.run.dir={tmp_path}/e", *options])

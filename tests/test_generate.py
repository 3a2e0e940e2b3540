"""`calotype-apply RUN sample | interpolate`: what is written, by which seed and class, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import calotype
from calotype.cli_apply import apply_main
from calotype.generate import interpolate, sample, translate
from calotype.types import UserError

SMALL = ["dataset=digits", "model.width=4", "model.latent_size=8", "task.samples=100", "task.classifier=null", "trainer.max_epochs=4",
         "task.average=0", "optimizer.lr=0.003", "hardware=cpu", "hardware.num_threads=1", "logger=none"]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    return {task: calotype.run([f"task={task}", *SMALL, f"hydra.run.dir={root}/{task}"]).run_dir for task in ("gan", "cgan")}


def pixels(path: str | Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_sample_writes_files_and_a_grid(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    apply_main([str(runs["gan"]), "sample", "--n", "12", "--out", f"{tmp_path}/a"])
    written = capsys.readouterr().out.split()
    assert [Path(p).name for p in written] == [*(f"{i:02}.png" for i in range(1, 13)), "grid.png"]
    assert pixels(written[0]).shape == (8, 8)
    assert pixels(written[-1]).shape[1] == 4 * 66 + 2
    again, other = ([pixels(p) for p in sample(runs["gan"], 12, tmp_path / f"b{seed}", seed=seed)] for seed in (0, 1))
    assert all(np.array_equal(pixels(p), q) for p, q in zip(written, again, strict=True))
    assert not np.array_equal(again[0], other[0])


def test_sample_of_a_class(runs: dict[str, Path], tmp_path: Path) -> None:
    module = calotype.load(runs["cgan"])
    want = module.draw(3, seed=5, labels=torch.full((3,), 7))
    files = list(sample(runs["cgan"], 3, tmp_path, label="7", seed=5))
    assert np.array_equal(pixels(files[0]), (want[0, 0] * 255).round().byte().numpy())
    in_turn = module.draw(3, seed=5)
    assert torch.equal(in_turn, module.draw(3, seed=5, labels=torch.tensor([0, 1, 2])))


def test_interpolation_ends_at_its_ends_and_moves_between(runs: dict[str, Path], tmp_path: Path) -> None:
    files = list(interpolate(runs["gan"], 21, tmp_path, seed=3))
    frames = [pixels(p).astype(float) for p in files[:-1]]
    module = calotype.load(runs["gan"])
    with torch.no_grad():
        ends = module(module.latents(2, seed=3))
    for frame, end in ((frames[0], ends[0, 0]), (frames[-1], ends[1, 0])):
        assert np.abs(frame - end.numpy() * 255).max() <= 1
    steps = [np.abs(b - a).mean() for a, b in pairwise(frames)]
    assert max(steps) < np.abs(frames[-1] - frames[0]).mean() * 0.6


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("cgan", ["--label", "12"], r"--label 12: the run knows 0, 1, 2"),
        ("gan", ["--label", "3"], "trained without classes"),
        ("gan", ["--n", "0"], "--n 0"),
    ],
)
def test_bad_requests(runs: dict[str, Path], tmp_path: Path, task: str, options: list[str], message: str) -> None:
    for command in ("sample", "interpolate"):
        keywords = {"--label": "label", "--n": "n"}
        given = {keywords[k]: v for k, v in zip(options[::2], options[1::2], strict=True)}
        with pytest.raises(UserError, match=message):
            list({"sample": sample, "interpolate": interpolate}[command](runs[task], int(given.pop("n", 4)), tmp_path / "no", **given))
    assert not (tmp_path / "no").exists()


def test_other_tasks_draw_nothing(tmp_path: Path) -> None:
    run = calotype.run(["model.widths=[4]", "trainer.max_epochs=1", "hardware=cpu", "logger=none", f"hydra.run.dir={tmp_path}/c"]).run_dir
    with pytest.raises(UserError, match="sample needs one of task=gan or cgan or pixelcnn"):
        list(sample(run, 4, tmp_path / "no"))


def test_translate_any_size_as_the_run_was_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["task=translation", "dataset=digits", "model.width=4", "model.levels=1", "data.pair.factor=2", "trainer.max_epochs=1",
             "hardware=cpu", "hardware.num_threads=1", "logger=none"]  # fmt: skip
    run = calotype.run([*small, f"hydra.run.dir={tmp_path}/t"]).run_dir
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (10, 14), dtype=np.uint8)).save(photo)
    capsys.readouterr()
    apply_main([str(run), "translate", str(photo), "--out", f"{tmp_path}/out"])
    assert capsys.readouterr().out.strip() == f"{tmp_path}/out/photo.png"
    assert pixels(tmp_path / "out/photo.png").shape == (20, 28)  # super-resolution enlarges
    apply_main([str(run), "translate", str(photo), "--tile-pixels", "144", "--out", f"{tmp_path}/tiles"])
    capsys.readouterr()
    assert np.abs(pixels(tmp_path / "tiles/photo.png").astype(int) - pixels(tmp_path / "out/photo.png")).max() <= 1
    with pytest.raises(UserError, match="--tile-pixels 50: at least 100"):
        list(translate(run, [photo], tmp_path / "no", tile_pixels=50))
    (tmp_path / "no").rmdir()
    with pytest.raises(UserError, match="own place"):
        list(translate(run, [photo], tmp_path))
    with pytest.raises(UserError, match="no such file"):
        list(translate(run, [tmp_path / "none.png"], tmp_path / "no"))
    hole = calotype.run([*small[:4], "data/pair=hole", *small[5:], f"hydra.run.dir={tmp_path}/h"]).run_dir
    with pytest.raises(UserError, match="does not say where its hole is"):
        list(translate(hole, [photo], tmp_path / "no"))
    assert not (tmp_path / "no").exists()

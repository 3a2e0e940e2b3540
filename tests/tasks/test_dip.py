"""The deep image prior: fits, stops, is the same for the same seed, and restores tiles, runs and degraded files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tifffile
import torch
from PIL import Image

import calotype
from calotype.tasks.dip import DeepImagePrior
from calotype.types import UserError
from helpers import run_until

SMALL = [
    "task=dip", "model.channels=[16,16]", "model.latent_channels=8", "hardware=cpu", "hardware.num_threads=1", "logger=none",
    "task/stop=fixed",
    "task.iterations=60", "data.iterations_per_epoch=20", "callbacks.pictures.progress=[20,40]",
]  # fmt: skip


def photo(path: Path, size: int = 32, *, grey: bool = False) -> Path:
    pixels = skimage.data.astronaut()[20 : 20 + 4 * size, 150 : 150 + 4 * size]
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BOX)
    (image.convert("L") if grey else image).save(path)
    return path


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    count = iter(range(100))
    clean = photo(tmp_path / "clean.png")

    def go(*overrides: str):  # type: ignore[no-untyped-def]
        given = [] if any(o.startswith("dataset") for o in overrides) else [f"dataset.clean={clean}"]
        return calotype.run([*SMALL, f"hydra.run.dir={tmp_path}/d{next(count)}", *given, *overrides])

    return go


def test_overfits_a_small_image(run) -> None:  # type: ignore[no-untyped-def]
    options = ["data.crop_to=16", "task.iterations=400", "task.jitter=0", "task.average=0", "model.channels=[32,32]"]
    assert run(*options).metrics["psnr_last"] > 27


def test_whole_run_folder(run) -> None:  # type: ignore[no-untyped-def]
    result = run("data.sigma=25")
    names = {"psnr_at_stop", "psnr_ema", "psnr_last", "psnr_peak", "ssim_at_stop", "iterations_at_stop"}
    assert names | {"psnr_observed", "baseline/nlm_psnr", "baseline/tv_psnr", "baseline/wavelet_psnr"} <= set(result.metrics)
    assert result.metrics["iterations_at_stop"] == 60
    assert result.metrics["psnr_at_stop"] == result.metrics["psnr_ema"]
    assert result.metrics["psnr_peak"] >= result.metrics["psnr_ema"] - 1e-4
    assert np.array(Image.open(result.run_dir / "images/restored.png")).shape == (32, 32, 3)
    assert tifffile.imread(result.run_dir / "images/restored.tif").dtype == np.uint16
    pictures = {path.stem for path in (result.run_dir / "images").glob("*.png")}
    assert {"comparison", "progress", "stopping", "restored", "curves"} <= pictures
    assert [path.stem for path in sorted((result.run_dir / "images/progress").iterdir())] == ["00020", "00040"]
    for name in ("comparison", "progress"):  # they show the astronaut, not an empty page
        page = np.array(Image.open(result.run_dir / f"images/{name}.png").convert("RGB"))
        assert ((page.max(2) - page.min(2)) > 40).mean() > 0.05
    logged = (result.run_dir / "metrics.csv").read_text()
    assert "train/psnr_average" in logged
    assert json.loads((result.run_dir / "run.json").read_text())["split_hash"]


def test_same_seed_same_image_other_seed_another(run) -> None:  # type: ignore[no-untyped-def]
    first, again, other = (Path(run("data.sigma=25", f"seed={seed}").run_dir / "images/restored.tif").read_bytes() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_variance_stops_early_and_keeps_what_it_chose(run) -> None:  # type: ignore[no-untyped-def]
    options = ["task/stop=variance", "task.stop.start=20", "task.stop.patience=15", "task.iterations=400", "data.sigma=50"]
    result = run(*options, "optimizer.lr=0.03")
    assert 20 < result.metrics["iterations_at_stop"] < result.metrics["iterations"] < 400
    assert result.metrics["iterations"] <= result.metrics["iterations_at_stop"] + 15 + 10  # it asks every tenth iteration
    with pytest.raises(UserError, match=r"task.iterations=30: the rule that stops needs 35"):
        run(*options, "task.iterations=30")


def test_iterations_that_end_before_the_rule_are_an_alarm(run) -> None:  # type: ignore[no-untyped-def]
    rule = ["task/stop=variance", "task.runs=2", "data.sigma=25"]
    with pytest.warns(UserWarning, match="after 60 iterations the rule that stops had not settled in 2 of 2 fits"):
        result = run(*rule, "task.stop.start=20", "task.stop.patience=40")
    assert json.loads((result.run_dir / "run.json").read_text())["alarms"] == result.module.alarms
    settled = run(*rule, "task.stop.start=1", "task.stop.patience=1")
    assert not settled.module.alarms
    assert not run().module.alarms  # who asks for a number of iterations gets it


@pytest.mark.filterwarnings("ignore:after .* iterations the rule")
def test_held_out_pixels_are_not_fitted(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Whatever stands in them, the fit is the same; and the rule stops by them."""
    options = ["task/stop=held_out", "task.stop.start=5", "task.stop.patience=5", "task.iterations=20"]
    held = run(*options, "task.stop.patience=15").module.stop.mask[0, 0].bool().numpy()
    pixels = np.array(Image.open(tmp_path / "clean.png"))
    pixels[held] = 255 - pixels[held]
    Image.fromarray(pixels).save(tmp_path / "other.png")
    one, other = (run(*options, "task.stop.patience=15", f"dataset.path={tmp_path}/{name}.png") for name in ("clean", "other"))
    curves = [result.module.progress["curves"][0] for result in (one, other)]
    assert torch.equal(curves[0][:, 0], curves[1][:, 0])  # the loss
    assert not torch.equal(curves[0][:, 2], curves[1][:, 2])  # the error over them
    stopped = run(*options, "task.iterations=400", "data.sigma=80", "optimizer.lr=0.05", "task.average=0.5")
    assert stopped.metrics["iterations"] < 400
    errors = stopped.module.progress["curves"][0, :, 2]
    first = 6 + errors[5:].nan_to_num(9).argmin().item()
    assert stopped.metrics["iterations_at_stop"] == first
    two = run(*options, "task.iterations=400", "data.sigma=80", "optimizer.lr=0.05", "task.average=0.5", "task.runs=2")
    assert two.module.progress["kept_at"].tolist() == [first, first]
    assert two.module.progress["curves"][1, :, 2].isnan().all()  # nothing is held out any more


@pytest.mark.filterwarnings("ignore:after .* iterations the rule")
def test_a_fit_leaves_to_the_others_what_it_did_not_see(run) -> None:  # type: ignore[no-untyped-def]
    options = [
        "task/stop=held_out",
        "task.stop.share=0.3",
        "task.stop.start=5",
        "task.stop.patience=5",
        "task.iterations=40",
        "data.sigma=40",
    ]
    module = run(*options, "task.runs=2").module
    held = module.stop.mask.bool().expand_as(module.kept)
    apart = (module.restoration.outputs["at_stop"] - module.kept).abs()  # the second fit's, which saw every pixel
    assert apart[held].max() < 0.002
    assert apart[~held].max() > 0.02
    alone = run(*options).module
    assert (alone.restoration.outputs["at_stop"] - alone.kept).abs().max() < 1e-5  # nobody else is there


def test_the_average_forgets_the_beginning(run) -> None:  # type: ignore[no-untyped-def]
    """While there is little, it is over the last quarter: the long one is not what the noise of the first outputs was."""
    curves = [run("task.average=" + weight, "data.sigma=5").module.progress["curves"][0] for weight in ("0.9999", "0.5")]
    assert torch.equal(curves[0][:, 0], curves[1][:, 0])
    assert curves[0][0, 4] == curves[0][0, 3]  # the first average is the first output
    assert curves[0][-1, 4] > curves[0][-1, 3] - 1
    assert curves[0][-1, 4] > curves[0][0, 4] + 1  # where it stayed if it held on to the first output


def test_runs_start_anew_and_are_averaged(run) -> None:  # type: ignore[no-untyped-def]
    one, two = run("data.sigma=25"), run("data.sigma=25", "task.runs=2")
    curves = two.module.progress["curves"][..., 0]
    assert two.metrics["iterations"] == 120
    assert torch.equal(curves[0], one.module.progress["curves"][0, :, 0])
    assert curves[1, 0] > curves[0, -1]  # new random weights
    assert not torch.equal(curves[0], curves[1])
    assert two.metrics["psnr_ema"] > one.metrics["psnr_ema"] - 1  # two halves of nothing would be far below


def test_tiles_make_the_whole_image(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    wide = photo(tmp_path / "wide.png", 64)
    result = run(f"dataset.clean={wide}", "data.max_pixels=1600", "data.overlap=8", "data.sigma=10", "optimizer.lr=0.02")
    tiles = len(result.module.progress["curves"])
    assert tiles > 1
    assert result.metrics["iterations"] == 60 * tiles
    assert np.array(Image.open(result.run_dir / "images/restored.png")).shape == (64, 64, 3)
    assert result.metrics["psnr_last"] > 14  # nothing but blends of what each tile shows


def test_own_photo_is_observed_as_it_is(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    grey = photo(tmp_path / "grey.jpg", 37, grey=True)
    result = run(f"dataset.path={grey}", "data.sigma=25")
    assert set(result.metrics) == {"iterations", "iterations_at_stop"}
    assert np.array(Image.open(result.run_dir / "images/restored.png")).shape == (37, 37)
    observed = result.module.restoration.batch.observed[0, 0] * 255
    assert np.array_equal(observed.round().byte().numpy(), np.array(Image.open(grey)))
    measured = run(f"dataset.path={grey}", f"dataset.clean={grey}")
    assert "psnr_at_stop" in measured.metrics


@pytest.mark.parametrize("mask", ["random", "text", "rectangle"])
def test_holes(run, mask: str) -> None:  # type: ignore[no-untyped-def]
    size = ["data.mask.size=8"] if mask == "text" else []
    result = run(f"data/mask={mask}", *size)
    assert {"hole_psnr_at_stop", "hole_ssim_at_stop", "hole_psnr_peak", "baseline/hole_biharmonic_psnr"} <= set(result.metrics)
    found = result.module.restoration
    known = found.batch.known.expand_as(found.batch.clean) > 0
    assert torch.equal(found.outputs["at_stop"][known], found.batch.clean[known])  # what was seen is kept


def test_small_images_become_large(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    result = run("data/operator=downsample", "data.operator.factor=4")
    assert result.module.restoration.batch.observed.shape == (1, 3, 8, 8)
    assert "baseline/bicubic_psnr" in result.metrics
    own = run(f"dataset.path={photo(tmp_path / 'small.png', 10)}", "data/operator=downsample", "data.operator.factor=2")
    assert np.array(Image.open(own.run_dir / "images/restored.png")).shape == (20, 20, 3)


@pytest.mark.parametrize("operator", ["jpeg", "blur"])
def test_other_operators(run, operator: str) -> None:  # type: ignore[no-untyped-def]
    assert "psnr_at_stop" in run(f"data/operator={operator}", "task.iterations=5").metrics


def test_sure_is_fed_what_was_observed(run) -> None:  # type: ignore[no-untyped-def]
    result = run("loss=dip/sure", "model.latent=observed", "data.sigma=25", "task.jitter=0")
    assert result.metrics["psnr_last"] > 10
    with pytest.raises(UserError, match=r"loss=dip/sure: .* set model.latent=observed"):
        run("loss=dip/sure")
    with pytest.raises(UserError, match=r"loss=dip/sure: .* choose data/operator=identity"):
        run("loss=dip/sure", "model.latent=observed", "data/operator=blur")


def test_goes_on_where_it_was_cut_off(run) -> None:  # type: ignore[no-untyped-def]
    options = ["data.sigma=25", "task.runs=2"]
    whole = run(*options)
    folder = whole.run_dir.parent / "cut"
    clean = whole.run_dir.parent / "clean.png"
    moment = {"job": 1, "iteration": 45}
    run_until([*SMALL, *options, f"dataset.clean={clean}"], folder, DeepImagePrior, "on_train_batch_end",
              lambda task: moment.items() <= task.progress.items())  # fmt: skip
    resumed = calotype.run([f"resume={folder}"])
    assert (resumed.run_dir / "images/restored.tif").read_bytes() == (whole.run_dir / "images/restored.tif").read_bytes()
    figures = [r.metrics for r in (whole, resumed)]
    assert figures[0] == figures[1]


def test_says_when_it_diverges(run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"training diverged in epoch 1, step \d+: .*; lower optimizer.lr"):
        run("optimizer=sgd", "optimizer.lr=1e38")


def sixteen_bits(path: Path) -> Path:
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 65536, (20, 20, 3)).astype(np.uint16), photometric="rgb")
    return path


def test_sixteen_bits_are_kept(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = sixteen_bits(tmp_path / "deep.tif")
    observed = run(f"dataset.path={path}", "task.iterations=1").module.restoration.batch.observed
    assert np.array_equal((observed[0].permute(1, 2, 0).double() * 65535).round().numpy(), tifffile.imread(path))


def test_transparency_is_laid_on_white_and_said(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    pixels = np.zeros((20, 24, 4), np.uint8)
    pixels[:10, :, 3] = 255  # the upper half is black, the lower one is not there
    Image.fromarray(pixels).save(tmp_path / "cut.png")
    observed = run(f"dataset.path={tmp_path / 'cut.png'}", "task.iterations=1").module.restoration.batch.observed
    assert (observed[..., :10, :] == 0).all()
    assert (observed[..., 10:, :] == 1).all()
    assert "cut.png: transparent pixels are laid on white" in capsys.readouterr().out


def write_nan(path: Path) -> None:
    pixels = np.full((20, 20), 0.5, np.float32)
    pixels[3, 4] = np.nan
    tifffile.imwrite(path, pixels)


BAD = {
    "nan": (["dataset.path=nan.tif"], r"nan.tif: floating-point pixels .* NaN"),
    "thin": (["dataset.path=thin.png"], r"thin: 40x1 pixels, and 16 a side are the least"),
    "absent": (["dataset.path=absent.png"], r"absent.png: no such file"),
    "sigma": (["data.sigma=-1"], r"data.sigma=-1: must be a number >= 0"),
    "mask size": (["data/mask=file", "data.mask.path=thin.png"], r"thin.png: the mask is 40x1 pixels and the image 32x32"),
    "no hole": (["data/mask=file", "data.mask.path=white.png"], r"data.mask: no hole"),
    "all holes": (["data/mask=file", "data.mask.path=white.png", "data.mask.invert=true"], r"data.mask: nothing but holes"),
    "points": (["dataset=gaussians_2d"], r"holds points, and Hourglass\w* takes images"),
    "index": (["data.index=7"], r"data.index=7: clean has 1 images"),
    "other size": (["dataset.path=white.png", "dataset.clean=thin.png"], r"dataset.clean: .* are needed"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_in_one_line(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    write_nan(tmp_path / "nan.tif")
    Image.new("RGB", (40, 1)).save("thin.png")
    Image.new("L", (32, 32), 255).save("white.png")
    overrides, message = BAD[case]
    with pytest.raises(UserError, match=message) as error:
        run(*overrides)
    assert "\n" not in str(error.value)

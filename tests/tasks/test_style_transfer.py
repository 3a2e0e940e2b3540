"""Style transfer: paints, resumes, keeps what it should; the fast form learns and is applied; channels are shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

import calotype
from calotype import apply
from calotype.tasks.style_transfer import StyleTransfer
from calotype.types import UserError
from helpers import run_until

PLAIN = ["hardware=cpu", "hardware.num_threads=1", "logger=none"]
LAYERS = ["task.content_layers={relu2_1: 1.0}", "task.style_layers={relu1_1: 1.0, relu2_1: 1.0}"]
SMALL = [
    "task=style_transfer", "model=style/random_vgg", "model@task.judge=style/random_vgg_heldout", "data.size=48", "task.steps=6",
    "data.steps_per_epoch=3", "callbacks.pictures.progress=[2,4]", *PLAIN,
]  # fmt: skip
FAST = [
    "task=fast_style", "model.width=4", "model.blocks=1", "model@task.features=style/random_vgg", "task.content_layers={relu2_1: 1.0}",
    "task.style_layers={relu1_1: 1.0, relu2_1: 1.0}", "data.size=32", "data.style_size=48", "data.test_size=40", "data.batch_size=2",
    "data.steps_per_epoch=4", "trainer.max_epochs=2", "callbacks.pictures.progress=[2]", *PLAIN,
]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    count = iter(range(100))
    photo = Image.fromarray(skimage.data.astronaut()).resize((60, 48))
    photo.save(tmp_path / "photo.png")

    def go(*overrides: str, start: list[str] = SMALL):  # type: ignore[no-untyped-def]
        given = [f"dataset.path={tmp_path}/photo.png"] if start is SMALL else []
        given += LAYERS if start is SMALL and not any("_layers" in o for o in overrides) else []
        return calotype.run([*start, f"hydra.run.dir={tmp_path}/s{next(count)}", *given, *overrides])

    return go


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_whole_run_folder(run) -> None:  # type: ignore[no-untyped-def]
    result = run()
    names = {"loss", "content_loss", "style_loss", "style_loss/relu1_1", "content_loss/relu2_1", "heldout/style_distance", "patch_distance"}
    ends = {"content_image/style_loss", "content_image/patch_distance", "content_image/heldout/style_distance", "style_image/ssim_content"}
    assert names | ends | {"ssim_content", "steps", "style_image/patch_distance"} <= set(result.metrics)
    assert result.metrics["style_loss"] < result.metrics["content_image/style_loss"]
    assert result.metrics["style_loss"] == pytest.approx(result.metrics["style_loss/relu1_1"] + result.metrics["style_loss/relu2_1"])
    assert np.array(Image.open(result.run_dir / "images/result.png")).shape == (38, 48, 3)
    pictures = {path.stem for path in (result.run_dir / "images").glob("*.png")}
    assert {"comparison", "progress", "result", "curves"} <= pictures
    assert [path.stem for path in sorted((result.run_dir / "images/progress").iterdir())] == ["00002", "00004"]
    checkpoint = torch.load(result.run_dir / "checkpoints/last.ckpt", weights_only=True)
    assert set(checkpoint["state_dict"]) == {"pixels", "average"}  # the frozen networks are not stored again


def test_nothing_is_lost_where_nothing_is_changed(run) -> None:  # type: ignore[no-untyped-def]
    """The content itself has no content loss; the style itself, as content, no style loss."""
    photo = run("task.steps=1", "task.style_weight=0", "task.content_weight=0", "task.tv_weight=1e-9", "optimizer=sgd", "optimizer.lr=1e-9")
    assert photo.metrics["content_loss"] == pytest.approx(0, abs=1e-8)
    assert photo.metrics["ssim_content"] == pytest.approx(1, abs=1e-4)
    path = photo.run_dir.parent / "photo.png"
    itself = run("task.steps=1", f"data.style={path}", "optimizer=sgd", "optimizer.lr=1e-30")
    assert itself.metrics["style_loss"] == pytest.approx(0, abs=1e-8)
    assert itself.metrics["patch_distance"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        ["loss=style/wasserstein"],
        ["loss=style/adain"],
        ["loss.normalise=elements", "task.style_weight=1e-3"],
        ["optimizer=adam", "optimizer.lr=0.02", "task.average=0.9"],
        ["task.scales=[0.7,1]"],
        ["task.start=noise"],
        ["data.style=[tissue,brick]", "data.style_weights=[2,1]"],
        ["model=style/hybrid", "model.pretrained=false", "task.content_layers=null", "task.style_layers=null"],
        ["hardware=cpu_bf16"],
    ],
    ids=lambda options: options[0],
)
def test_every_way_brings_the_style_nearer(run, options: list[str]) -> None:  # type: ignore[no-untyped-def]
    metrics = run("task.steps=12", *options).metrics
    assert metrics["style_loss"] < metrics["content_image/style_loss"]


def test_same_seed_same_picture(run) -> None:  # type: ignore[no-untyped-def]
    first, again, other = ((run("task.start=noise", f"seed={seed}").run_dir / "images/result.png").read_bytes() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_scales_go_from_coarse_to_fine(run) -> None:  # type: ignore[no-untyped-def]
    result = run("task.scales=[0.5,0.75,1]", "callbacks.pictures.progress=[5,11,17]")
    sizes = [size_of(path) for path in sorted((result.run_dir / "images/progress").iterdir())]
    assert sizes == [(24, 19), (36, 28), (48, 38)]
    assert result.metrics["steps"] == 18


def test_colours_of_the_content_are_kept(run) -> None:  # type: ignore[no-untyped-def]
    """Greys stay greys, whatever the style's colours are."""
    grey = ["data.style=tissue", "task.steps=12"]
    path = run("task.steps=1").run_dir.parent / "photo.png"
    Image.open(path).convert("L").convert("RGB").save(path)
    for colours, has_some in (("content", False), ("style", True)):
        folder = run(*grey, f"task.colours={colours}", "callbacks.pictures.progress=[6]", "task.scales=[0.5,1.0]").run_dir / "images"
        for name in ("result.png", "progress/00006.png"):
            spread = np.ptp(np.array(Image.open(folder / name)).astype(int), 2).max()
            assert spread > 10 if has_some else spread <= 1


def test_masks_guide_where_a_style_goes(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    left = np.zeros((48, 60), np.uint8)
    left[:, :30] = 255
    for name, mask in (("left", left), ("right", 255 - left)):
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    Image.new("RGB", (40, 40), (200, 30, 30)).save(tmp_path / "red.png")
    Image.new("RGB", (40, 40), (30, 30, 200)).save(tmp_path / "blue.png")
    styles = f"data.style=[{tmp_path}/red.png,{tmp_path}/blue.png]"
    masks = f"data.content_masks=[{tmp_path}/left.png,{tmp_path}/right.png]"
    result = run(styles, masks, "task.steps=40", "task.content_weight=0.01")
    pixels = np.array(Image.open(result.run_dir / "images/result.png")).astype(int)
    redness = pixels[..., 0] - pixels[..., 2]
    assert redness[:, :20].mean() > 40
    assert redness[:, 28:].mean() < -40


def test_goes_on_where_it_was_cut_off(run) -> None:  # type: ignore[no-untyped-def]
    options = ["task.scales=[0.7,1]", "data.steps_per_epoch=4"]
    whole = run(*options)
    folder = whole.run_dir.parent / "cut"
    photo = f"dataset.path={whole.run_dir.parent}/photo.png"
    run_until([*SMALL, *LAYERS, photo, *options], folder, StyleTransfer, "on_train_batch_end", lambda task: task.step == 10)
    resumed = calotype.run([f"resume={folder}"])
    assert (resumed.run_dir / "images/result.png").read_bytes() == (whole.run_dir / "images/result.png").read_bytes()
    assert resumed.metrics["loss"] == whole.metrics["loss"]


def test_a_loss_that_breaks_keeps_the_last_good_picture(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"no longer a number at step \d+; images/result.png is the last good picture; lower optimizer.lr"):
        run("optimizer.lr=1e30", "task.steps=20")
    (folder,) = (path.parent for path in tmp_path.glob("s*/run.json"))
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"
    assert np.array(Image.open(folder / "images/result.png")).std() > 0


WRONG = {
    "task.style_layers={relu9_1: 1}": r"task.style_layers: VGG has no layer relu9_1; it has conv1_1, relu1_1",
    "task.steps=0": r"steps=0: must be a whole number >= 1",
    "task.scales=[1,0.5]": r"scales=\[1, 0.5\]: above 0 to 1, and 1 the last",
    "task.content_weight=-1": r"content_weight=-1: must be a number >= 0",
    "task.style_layers=[relu1_1]": r"task.style_layers=\['relu1_1'\]: must be names with a number >= 0 each",
    "data.style_scale=-1": r"data.style_scale=-1: must be a number > 0",
    "data.style=hubbel": r"data.style=hubbel: no such file; .* hubble, tissue",
    "data.style=/tmp": r"/tmp: a folder, and an image file is needed",
    "task.start=/nowhere.png": r"/nowhere.png: no such file",
    "model.weights=/nowhere.pth": r"model.weights=/nowhere.pth: no such file",
}


@pytest.mark.parametrize("option", WRONG)
def test_bad_input_has_one_line(run, option: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=WRONG[option]) as error:
        run(option)
    assert "\n" not in str(error.value)


def test_fast_form_learns_and_is_applied(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    result = run("optimizer.lr=0.01", "trainer.max_epochs=6", start=FAST)
    untrained = run("trainer.max_epochs=1", "data.steps_per_epoch=1", "optimizer.lr=1e-9", start=FAST)
    assert result.metrics["loss"] < untrained.metrics["loss"]
    assert {"patch_distance", "ssim_content", "content_image/style_loss"} <= set(result.metrics)
    checkpoint = torch.load(result.run_dir / "checkpoints/last.ckpt", weights_only=True)
    assert all(name.startswith("model.") for name in checkpoint["state_dict"])
    photo = tmp_path / "photo.png"
    (painted,) = apply.stylize(result.run_dir, [photo], tmp_path / "out")
    assert size_of(Path(painted)) == size_of(photo)
    before = (tmp_path / "out/photo.png").read_bytes()
    list(apply.stylize(result.run_dir, [photo], tmp_path / "out"))
    assert (tmp_path / "out/photo.png").read_bytes() == before


def test_what_stylize_refuses(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    result = run("trainer.max_epochs=1", start=FAST)
    photo = tmp_path / "photo.png"
    with pytest.raises(UserError, match=r"nothing.png: no such file"):
        list(apply.stylize(result.run_dir, [photo, tmp_path / "nothing.png"], tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"photo.png: two images would be written to it"):
        list(apply.stylize(result.run_dir, [photo, photo], tmp_path / "out"))
    with pytest.raises(UserError, match=r"photo.png: the result would take the image's own place"):
        list(apply.stylize(result.run_dir, [photo], tmp_path))
    painted = run()
    with pytest.raises(UserError, match=r"a run of task=style_transfer, and stylize needs one of task=fast_style"):
        list(apply.stylize(painted.run_dir, [photo], tmp_path / "out"))


def test_channels_are_excited(run) -> None:  # type: ignore[no-untyped-def]
    options = ["task=visualise", "model=style/random_vgg", "data.size=32", "task.steps=20", *PLAIN]
    result = run("task.layers={conv2_1: [0, 3], conv3_1: [1]}", start=options)
    for name in ("conv2_1", "conv3_1"):
        assert result.metrics[f"activation/{name}"] > result.metrics[f"activation_of_noise/{name}"]
    files = {path.relative_to(result.run_dir / "images").as_posix() for path in (result.run_dir / "images").rglob("*.png")}
    assert {"layers.png", "conv2_1/0.png", "conv2_1/3.png", "conv3_1/1.png"} <= files
    with pytest.raises(UserError, match=r"task.layers.conv2_1=\[500\]: its channels are 0 to 127"):
        run("task.layers={conv2_1: [500]}", start=options)
    with pytest.raises(UserError, match=r"task.layers: VGG has no layer conv9_1; it has conv1_1"):
        run("task.layers={conv9_1: [5]}", start=options)


def test_matched_colours_are_where_it_starts_and_what_it_aims_at(run) -> None:  # type: ignore[no-untyped-def]
    """With no weight on the style the picture stays the content in the style's colours."""
    result = run("task.colours=matched", "task.style_weight=0", "data.style=tissue")
    content, style, painted = (x.double()[0].flatten(1) for x in (result.module.stylization.content, *result.module.stylization.styles,
                                                                  result.module.stylization.result))  # fmt: skip
    assert (painted.mean(1) - style.mean(1)).abs().max() < 0.02
    assert (content.mean(1) - style.mean(1)).abs().max() > 0.1
    assert result.metrics["content_loss"] < 1e-5

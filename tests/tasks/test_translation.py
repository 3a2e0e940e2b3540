"""Translation with and without pairs: it learns what can be learned, steps leave the other network alone, runs are whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

import calotype
from calotype.metrics.restoration import psnr, ssim
from calotype.metrics.translation import Translations
from calotype.models.translation import CycleNetworks, PatchDiscriminator, UNetPatch
from calotype.tasks.cyclegan import ImageBuffer
from calotype.types import ImagePairBatch, UserError

SMALL = ["dataset=digits", "data.preprocess.size=16", "model.width=8", "model.levels=2", "hardware=cpu", "hardware.num_threads=1",
         "logger=none", "trainer.max_epochs=2"]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    count = iter(range(100))

    def go(task: str, *overrides: str):  # type: ignore[no-untyped-def]
        return calotype.run([f"task={task}", *SMALL, f"hydra.run.dir={tmp_path}/t{next(count)}", *overrides])

    return go


def test_super_resolution_run_folder(run) -> None:  # type: ignore[no-untyped-def]
    result = run("translation", "model.residual=true", "optimizer.lr=0.002", "task.average=0.9")
    names = {"psnr", "ssim", "l1", "input_psnr", "input_ssim"}
    assert {f"{side}/{name}" for side in ("val", "test") for name in names} <= set(result.metrics)
    assert result.metrics["test/psnr"] > result.metrics["test/input_psnr"]
    assert (result.run_dir / "images/translations.png").is_file()
    assert len(list((result.run_dir / "images/film").iterdir())) == 2
    with Image.open(result.run_dir / "images/translations.png") as page:
        assert page.width > 500


@pytest.mark.parametrize("pair", ["edges", "hole", "inverted"])
def test_pairs_of_every_kind(run, pair: str) -> None:  # type: ignore[no-untyped-def]
    result = run("translation", f"data/pair={pair}", "trainer.max_epochs=1", "data.pair.share=0.3" if pair == "hole" else "seed=1")
    assert ("test/input_psnr" in result.metrics) == (pair != "hole")
    assert result.metrics["test/psnr"] > 3


def test_the_game_can_be_left_out(run) -> None:  # type: ignore[no-untyped-def]
    result = run("translation", "task.adversarial_weight=0", "trainer.max_epochs=1")
    discriminator = result.module.model.discriminator
    torch.manual_seed(0)
    assert all(p.grad is None for p in discriminator.parameters())
    assert "train/d_loss" not in (result.run_dir / "metrics.csv").read_text()


def test_cyclegan_run_folder(run) -> None:  # type: ignore[no-untyped-def]
    result = run("cyclegan", "data/pair=inverted", "task.identity_weight=1", "task.buffer=8")
    assert {"test/psnr", "test/input_psnr", "val/l1"} <= set(result.metrics)
    assert "train/cycle" in (result.run_dir / "metrics.csv").read_text()
    assert int(result.module.earlier[0].held) == 8


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("translation", ["model=gan/cycle"], "no single discriminator"),
        ("translation", ["task.l1_weight=-1"], "l1_weight=-1"),
        ("translation", ["data/pair=hole", "model.residual=true"], "cannot be added"),
        ("translation", ["loss=gan/wasserstein_gp"], "gan/least_squares"),
        ("cyclegan", ["model=gan/unet_patch"], "no way back"),
        ("cyclegan", ["data/pair=edges", "task.identity_weight=1"], "unlike channels|cannot"),
        ("cyclegan", ["dataset=gaussians_2d"], "points"),
        ("cgan", ["model=gan/unet_patch"], "Translated"),
    ],
)
def test_bad_options(run, task: str, options: list[str], message: str) -> None:  # type: ignore[no-untyped-def]
    if options == ["data/pair=edges", "task.identity_weight=1"]:
        options = ["data/pair=hole", "task.identity_weight=1"]
    with pytest.raises(UserError, match=message):
        run(task, *options)


def test_patches_are_as_large_as_is_said() -> None:
    for levels, size in ((2, 26), (3, 54)):
        judge = PatchDiscriminator(1, 2, levels)
        norms = [m for m in judge.modules() if isinstance(m, torch.nn.InstanceNorm2d)]
        for norm in norms:  # which looks at the whole image
            norm.forward = lambda x: x  # type: ignore[method-assign, assignment]
        image = torch.rand(1, 1, 128, 128, requires_grad=True)
        logits = judge(image)
        (slope,) = torch.autograd.grad(logits[0, logits.shape[1] // 2, logits.shape[2] // 2], image)
        rows = slope[0, 0].abs().sum(1).nonzero()
        assert int(rows[-1] - rows[0]) + 1 == size


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (37, 20)])
def test_any_size(size: tuple[int, int]) -> None:
    model = UNetPatch((3, *size), (1, *size), width=4, levels=3)
    made = model(torch.rand(2, 1, *size))
    assert made.shape == (2, 3, *size)
    assert 0 <= made.min() <= made.max() <= 1
    cycle = CycleNetworks((1, *size), (3, *size), width=4)
    assert cycle.back(cycle(torch.rand(2, 3, *size))).shape == (2, 3, *size)
    with pytest.raises(UserError, match="differ in size"):
        UNetPatch((3, *size), (1, 5, 5))


def test_residual_starts_as_the_input_and_knows_how_large_a_difference_is() -> None:
    torch.manual_seed(0)
    model = UNetPatch((3, 16, 16), (3, 16, 16), width=4, levels=2, residual=True)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(model(images), images)
    assert not [m for m in model.generator.modules() if isinstance(m, torch.nn.InstanceNorm2d)]


def test_figures_are_means_over_images() -> None:
    g = torch.Generator().manual_seed(0)
    inputs, made, targets = (torch.rand(5, 3, 16, 16, generator=g) for _ in range(3))
    collected = Translations()
    for part in (slice(0, 2), slice(2, 5)):
        collected.update(ImagePairBatch(inputs[part], targets[part], torch.arange(5)[part]), made[part])
    want = sum(psnr(made[i : i + 1], targets[i : i + 1]).item() for i in range(5)) / 5
    assert collected.figures()["psnr"] == pytest.approx(want)
    assert collected.figures()["input_ssim"] == pytest.approx(sum(ssim(inputs[i : i + 1], targets[i : i + 1]).item() for i in range(5)) / 5)
    assert collected.figures()["l1"] == pytest.approx((made - targets).abs().mean().item())
    collected.forget()
    assert collected.figures() == {}


def test_buffer_gives_earlier_images_half_of_the_time() -> None:
    torch.manual_seed(0)
    buffer = ImageBuffer(10, (1, 1, 1))
    first = torch.arange(10.0).view(10, 1, 1, 1)
    assert torch.equal(buffer(first), first)
    later = torch.arange(10.0, 410.0).view(400, 1, 1, 1)
    given = buffer(later)
    changed = (given != later).flatten()
    assert 150 < changed.sum() < 250
    assert (given[changed] < later[changed]).all()
    assert torch.equal(ImageBuffer(0, (1, 1, 1))(later), later)

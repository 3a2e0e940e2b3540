"""The adversarial game: whose step changes what, its strategies, figures, pictures, alarms, resume."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import calotype
from calotype.data.unlabelled import Unlabelled
from calotype.losses.adversarial import NonSaturating
from calotype.models.dcgan import DCGAN
from calotype.tasks.adversarial_alarm import AdversarialAlarm
from calotype.tasks.averaging import follow
from calotype.tasks.cgan import ConditionalGAN
from calotype.tasks.gan import GAN
from calotype.tasks.gan_train import classifier_accuracies
from calotype.types import DataSpec, UserError
from helpers import run_until

PLAIN = ["hardware=cpu", "hardware.num_threads=1", "logger=none"]
POINTS = ["task=gan", "dataset=gaussians_2d", "dataset.num_points=2000", "model=gan/mlp_gan", "model.widths=[16]", "task.samples=400",
          "data.batch_size=100", "trainer.max_epochs=2", *PLAIN]  # fmt: skip
DIGITS = ["dataset=digits", "model.width=4", "model.latent_size=8", "task.samples=200", "trainer.max_epochs=2", *PLAIN]


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    count = iter(range(100))

    def go(*overrides: str, start: list[str] = POINTS):  # type: ignore[no-untyped-def]
        return calotype.run([*start, f"paths.output_dir={tmp_path}", f"hydra.run.dir={tmp_path}/g{next(count)}", *overrides])

    return go


def game(*, norm: str = "none", **options: object) -> GAN:
    torch.manual_seed(0)
    spec = DataSpec((1, 16, 16), ("a", "b"), (5, 5), 1)
    module = GAN(
        spec=spec,
        model=lambda shape, classes, pack: DCGAN(shape, classes, pack, width=4, latent_size=4, norm=norm, spectral_norm="both"),  # type: ignore[arg-type]
        loss=NonSaturating,
        optimizer=lambda p: torch.optim.Adam(p, lr=0.01),
        **options,  # type: ignore[arg-type]
    )
    module.log = module.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    module.manual_backward = lambda loss, *_, **__: loss.backward()  # type: ignore[method-assign]
    return module.train()


def state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_step_of_one_leaves_the_other_alone(norm: str) -> None:
    """Parameters, BatchNorm's statistics, spectral vectors, gradients."""
    module = game(norm=norm)
    generator, discriminator = module.model.generator, module.model.discriminator
    g, d = (torch.optim.Adam(network.parameters(), lr=0.01) for network in (generator, discriminator))
    for step, mine, other in (
        (lambda: module._discriminator_step(torch.rand(8, 1, 16, 16), None, d), discriminator, generator),
        (lambda: module._generator_step(8, None, g), generator, discriminator),
    ):
        before, own = state(other), state(mine)
        gradients = [None if p.grad is None else p.grad.clone() for p in other.parameters()]
        step()
        after = other.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert [p.grad is None for p in other.parameters()] == [x is None for x in gradients]
        assert all(x is None or torch.equal(x, p.grad) for x, p in zip(gradients, other.parameters(), strict=True))
        assert any(not torch.equal(own[name], mine.state_dict()[name]) for name in own)
        assert all(p.requires_grad for p in other.parameters())
        assert other.training
    if norm == "batch":
        assert any("running_mean" in name for name in state(discriminator))


def test_average_follows_buffers_too() -> None:
    network, average = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    network.running_mean.fill_(1.0)  # type: ignore[union-attr]
    network.weight.data.fill_(3.0)
    network.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    follow(average, network, 0.9, 10_000)
    assert average.weight[0].item() == pytest.approx(1.2)
    assert average.running_mean[0].item() == pytest.approx(0.1)  # type: ignore[index]
    assert average.num_batches_tracked == 7
    follow(average, network, 0.9, 0)  # the first steps are hardly averaged
    assert average.weight[0].item() == pytest.approx(3 - 0.1 * 1.8, rel=1e-4)


def test_whole_run_folder_of_points(run) -> None:  # type: ignore[no-untyped-def]
    result = run()
    assert {"test/modes", "test/high_quality", "test/mode_kl", "val/modes"} <= set(result.metrics)
    images = result.run_dir / "images"
    assert [p.stem for p in sorted((images / "film").iterdir())] == ["00001", "00002"]
    with Image.open(images / "film.gif") as film:
        assert film.n_frames == 2  # type: ignore[attr-defined]
    assert (images / "samples.png").is_file()
    logged = (result.run_dir / "metrics.csv").read_text()
    assert all(name in logged for name in ("train/d_loss", "train/g_loss", "train/d_real"))
    assert int(result.module.steps) == 28  # 14 batches an epoch, though two networks step in each


def test_images_with_a_judge_that_is_trained_once(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    figures = {"classifier_score", "frechet_distance", "frechet_floor", "kid", "precision", "recall", "density", "coverage", "least_class"}
    result = run("task=gan", start=DIGITS)
    assert {f"test/{name}" for name in figures} <= set(result.metrics)
    assert "test/condition_accuracy" not in result.metrics
    assert result.metrics["test/frechet_floor"] < result.metrics["test/frechet_distance"]
    assert "training the reference classifier" in capsys.readouterr().out
    (judge,) = (tmp_path / "judges").iterdir()
    assert json.loads((judge / "metrics.json").read_text())["test/accuracy"] > 0.9
    assert not any("judge" in name or "classifier" in name for name in result.module.state_dict())
    run("task=gan", "seed=1", "hardware.memory_format=contiguous_format", "trainer.max_epochs=1", start=DIGITS)
    assert len(list((tmp_path / "judges").iterdir())) == 1  # one for all seeds, on any hardware
    again = run("task=cgan", f"task.classifier={judge}", start=DIGITS)
    assert 0 <= again.metrics["test/condition_accuracy"] <= 1
    assert "training the reference classifier" not in capsys.readouterr().out
    run("task=cgan", "data.positive=3", "trainer.max_epochs=1", start=DIGITS)  # other classes, another judge
    assert len(list((tmp_path / "judges").iterdir())) == 2
    page = np.array(Image.open(again.run_dir / "images/samples.png").convert("L"))
    assert page.std() > 5
    assert (again.run_dir / "images/nearest.png").is_file()
    with pytest.raises(UserError, match=r"task\.classifier: it was trained on other data"):
        run("task=gan", f"task.classifier={judge}", "data.preprocess.size=12", start=DIGITS)
    with pytest.raises(UserError, match="not of task=classification"):
        run("task=gan", f"task.classifier={again.run_dir}", start=DIGITS)


def test_same_figures_whether_the_judge_was_there_or_not(run) -> None:  # type: ignore[no-untyped-def]
    first, second = (run("task=gan", start=DIGITS) for _ in range(2))
    assert first.metrics == second.metrics


@pytest.mark.parametrize(
    "options",
    [
        ["loss=gan/wasserstein_gp", "task.d_steps=3"],
        ["loss=gan/wasserstein_clip"],
        ["loss=gan/hinge", "task.r1=1", "task.r1_every=4"],
        ["loss=gan/least_squares", "loss.real_label=[0.7,1]", "task.g_steps=2"],
        ["loss=gan/minimax", "task.pack=4", "task.average=0"],
        ["task.input_noise=0.5", "task.noisy=real", "scheduler=warmup_cosine", "task.d_lr_factor=2"],
    ],
)
def test_strategies_run(run, options: list[str]) -> None:  # type: ignore[no-untyped-def]
    result = run(*options)
    assert all(value is not None for value in result.metrics.values())
    logged = (result.run_dir / "metrics.csv").read_text()
    assert ("train/r1" in logged) == ("task.r1=1" in options)
    assert ("train/slope_penalty" in logged) == ("loss=gan/wasserstein_gp" in options)
    if "loss=gan/wasserstein_clip" in options:
        assert max(p.abs().max().item() for p in result.module.model.discriminator.parameters()) <= 0.01


def test_turns_of_either(run) -> None:  # type: ignore[no-untyped-def]
    """Adam counts a network's own steps."""
    result = run("task.d_steps=3", "task.g_steps=2", "trainer.max_epochs=1")
    g, d = result.module.trainer.optimizers
    steps = [int(next(iter(o.state.values()))["step"]) for o in (g, d)]
    assert steps == [14 // 3 * 2, 14]


def test_noise_falls_to_nothing(run) -> None:  # type: ignore[no-untyped-def]
    module = game(input_noise=0.8, input_noise_until=0.5)

    class Trainer:
        estimated_stepping_batches = 100

    module._trainer = Trainer()  # type: ignore[assignment]
    seen = []
    for step in (0, 25, 50, 99):
        module.steps.fill_(step)
        seen.append(module._noise())
    assert seen == pytest.approx([0.8, 0.4, 0, 0])


def test_killed_and_resumed_ends_with_the_same_numbers(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    options = ["trainer.max_epochs=6", "task.input_noise=0.1", "data.batch_size=20"]
    whole = run(*options)
    folder = tmp_path / "killed"
    start = [*POINTS, f"paths.output_dir={tmp_path}", *options]
    run_until(start, folder, GAN, "on_train_batch_end", lambda task: task.current_epoch == 2)
    assert not (folder / "metrics.json").exists()
    resumed = calotype.run([f"resume={folder}"])
    assert resumed.metrics == whole.metrics
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, resumed.module.state_dict()[name]), name


def test_draw_depends_on_its_seed_alone(run) -> None:  # type: ignore[no-untyped-def]
    module = run().module
    torch.manual_seed(1)
    first = module.draw(10, seed=3)
    torch.manual_seed(2)
    assert torch.equal(module.draw(10, seed=3), first)
    assert not torch.equal(module.draw(10, seed=4), first)


def test_the_best_of_candidates(run) -> None:  # type: ignore[no-untyped-def]
    """By the discriminator; the items are among those that one candidate each would give, in turn."""
    module = run("trainer.max_epochs=1").module
    every = module.draw(60, seed=1)
    module.candidates = 3
    chosen = module.draw(20, seed=1)
    with torch.no_grad():
        logits = module.model.discriminator(every).view(20, 3)
    for i in range(20):
        assert torch.equal(chosen[i], every[3 * i + int(logits[i].argmax())])


def test_data_without_labels(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(40):
        Image.fromarray(np.random.RandomState(i).randint(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    start = ["dataset=image_folder", f"dataset.root={folder}", "data.batch_size=8", *DIGITS[1:]]
    result = run("task=gan", start=start)
    assert not any(name.startswith("test/") for name in result.metrics)  # nobody is there to judge
    with pytest.raises(UserError, match="labels"):
        run("task=cgan", start=start)


def test_one_class_is_enough_without_a_condition(run) -> None:  # type: ignore[no-untyped-def]
    assert run("task=gan", "data.classes=['3']", "trainer.max_epochs=1", start=DIGITS).metrics == {}
    with pytest.raises(UserError, match=r"data.classes=.*must be a list of at least 2"):
        run("task=cgan", "data.classes=['3']", start=DIGITS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["task.pack=0"], r"pack=0: must be a whole number >= 1"),
        (["task.r1=-1"], r"r1=-1: must be a number >= 0"),
        (["task.pack=2", "task.candidates=2"], r"candidates=2: packed items"),
        (["task.average=1"], "average=1"),
        (["task.samples=5"], r"task\.samples=5"),
        (["task.input_noise_until=0"], "input_noise_until"),
        (["task=cgan", "task.pack=2"], "items of unlike classes"),
    ],
)
def test_bad_options(run, options: list[str], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=message):
        run(*options)


def test_what_generated_images_are_worth(run) -> None:  # type: ignore[no-untyped-def]
    result = run("task=cgan", "data.per_class=6", "data.batch_size=20", "task.classifier_steps=60", "task.classifier=null", start=DIGITS)
    accuracies = [result.metrics[f"test/{name}_accuracy"] for name in ("few_real", "gan_train", "augmented")]
    assert accuracies[0] > 0.5  # sixty images do teach something
    assert len(set(accuracies)) == 3
    assert accuracies[1] < accuracies[0]  # a generator of two epochs has nothing to teach


def test_only_real_images_are_changed_on_their_way_to_a_classifier() -> None:
    """And in both classifiers that see them, so that what the change is worth is not credited to the drawn ones."""
    generator = torch.Generator().manual_seed(0)
    real, drawn = ((torch.full((20, 1, 8, 8), value), torch.randint(0, 2, (20,), generator=generator)) for value in (1.0, 0.25))
    seen = []

    def change(images: torch.Tensor) -> torch.Tensor:
        seen.append((len(images), images.unique().tolist()))
        return images

    classifier_accuracies(real, drawn, real, num_classes=2, steps=3, seed=0, augment=change)
    assert seen == [(64, [1.0])] * 3 + [(32, [1.0])] * 3


def test_points_are_no_images(run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"holds points, and DCGAN takes images.*model=gan/mlp_gan"):
        run("model=gan/dcgan", start=[o for o in POINTS if "model" not in o])


def test_alarms() -> None:
    alarm = AdversarialAlarm()
    for epoch in range(4):
        for _ in range(5):
            alarm.look("d", 0.001, 1.0)
        told = alarm.end_of_epoch(epoch)
        assert (told is not None) == (epoch == 1)  # two in a row, told once
    assert "has won" in alarm.told[0]
    for epoch in range(3):
        alarm.look("d", 1.0, 500.0)
        alarm.end_of_epoch(epoch)
    assert "norm of 500" in alarm.told[1]
    assert alarm.look_at_figures({"modes": 20.0}, 1, 50) is None
    assert alarm.look_at_figures({"modes": 11.0}, 2, 50) is None
    assert "fell to 9 from 20" in str(alarm.look_at_figures({"modes": 9.0}, 3, 50))
    assert alarm.look_at_figures({"modes": 2.0}, 4, 50) is None
    assert len(alarm.told) == 3
    with pytest.raises(UserError, match="discriminator's loss is nan"):
        alarm.look("d", float("nan"), 1.0)
    lost = AdversarialAlarm()
    told = [lost.look_at_figures({"modes": 2.0}, epoch, 30) for epoch in range(30)]
    assert [epoch for epoch, text in enumerate(told) if text] == [14]  # after half of them
    assert "never above 2" in lost.told[0]
    assert [AdversarialAlarm().look_at_figures({"modes": 0.0}, epoch, 4) for epoch in range(4)] == [None] * 4
    quiet = AdversarialAlarm()
    for epoch in range(3):
        quiet.look("d", -5.0, 1.0)  # a critic's loss is no probability's
        assert quiet.end_of_epoch(epoch) is None


def test_a_step_with_nothing_finite_ends_the_run(run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"lower optimizer\.lr"):
        run("loss=gan/least_squares", "optimizer.lr=1e30")


def test_needs_labels_are_told_before_anything_is_built() -> None:
    assert ConditionalGAN.needs.batch.__name__ == "LabelledBatch"
    assert issubclass(ConditionalGAN.needs.batch, Unlabelled.batch)

"""Generative adversarial networks: a generator learns to draw what a discriminator cannot tell from real images."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from calotype.console import echo
from calotype.losses.adversarial import r1_penalty, slope_penalty
from calotype.metrics.generation import InceptionDistance, mixture_figures
from calotype.ranges import Above0, Above0To1, AtLeast0, Below1, Count, Positive
from calotype.tasks.adversarial_alarm import AdversarialAlarm
from calotype.tasks.averaging import follow
from calotype.tasks.gan_train import classifier_accuracies
from calotype.tasks.judge import MIN_FOR_DISTANCE, Judge, too_few
from calotype.tasks.schedule import descend, step_schedulers, with_schedule
from calotype.trainer_keys import ignoring
from calotype.types import DataSpec, Needs, UnlabelledBatch, UserError


class GAN(LightningModule):
    """Trains two networks against each other, each by an optimizer of its own (Goodfellow et al., 2014).

    A batch is one step of the discriminator, and of the generator every `d_steps` batches, then `g_steps` times. In the discriminator's
    step the generator runs without gradients and its BatchNorm statistics stay; in the generator's the discriminator's parameters do.

    Args:
        spec: of the data; `calotype.run` gives it.
        model: called with (image_shape, num_classes, pack); has `generator`, `discriminator`, `latent_size`.
        loss: called without arguments; of `losses.adversarial`.
        optimizer: called with the parameters of a network.
        scheduler: called with each optimizer; see `with_schedule`.
        d_lr_factor: the discriminator's learning rate, as a share of the generator's (two time-scales; Heusel et al., 2017).
        d_steps: steps of the discriminator for one turn of the generator.
        g_steps: steps of the generator in its turn.
        pack: items that the discriminator judges together (PacGAN, Lin et al., 2018).
        r1: weight gamma of the slope penalty at real images, 0 for none.
        r1_every: steps between two of them, each weighing so much more.
        input_noise: standard deviation, in units of the data, of the normal noise on what the discriminator sees, at the start.
        input_noise_until: share of the training over which it falls to 0.
        noisy: who has it: both, or real images alone.
        average: weight of the past in the running average of the generator, which is what is tested and used; 0 for none.
        candidates: latents that are drawn for every item that is kept, the one whose item the discriminator holds most real: a simple form
            of discriminator rejection sampling (Azadi et al., 2019), in figures, samples and the random grid; 1 for none.
        samples: generated items that figures are computed from, in the test; a quarter of them in validation.
        classifier: folder of a run of task=classification whose features judge; `auto` trains one on the same data, once; null for none.
        neighbours: k of precision, recall, density and coverage.
        inception: also the distance by Inception's features, in the test: `download`, or a file of torch-fidelity's weights; null for none.
        classifier_steps: of a conditional model, steps of the classifiers that test what generated images are worth, see
            `tasks.gan_train`; 0 for none.

    Logged: train/d_loss, train/g_loss, train/d_real, train/d_generated (mean logits), train/d_gradient, train/g_gradient (norms), train/r1,
    train/slope_penalty; val/... and test/..., see `metrics.generation`.
    """

    points_model: ClassVar = "gan/mlp_gan"  # which takes points
    trains_in_turn: ClassVar = True  # the networks, each with its own optimizer
    needs: ClassVar = Needs(batch=UnlabelledBatch, model="Generated", loss=("real", "generated"))
    # What a callback may watch, and which way is better; the first is what early stopping watches by itself.
    monitors: ClassVar = {
        "val/coverage": "max",
        "val/density": "max",
        "val/precision": "max",
        "val/recall": "max",
        "val/frechet_distance": "min",
        "val/kid": "min",
        "val/classifier_score": "max",
        "val/condition_accuracy": "max",
        "val/modes": "max",
        "val/high_quality": "max",
        "val/mode_kl": "min",
    }
    # Keys of the trainer that it does not obey, and why.
    ignores: ClassVar = ignoring(("limit_val_batches", "limit_test_batches"), "task.samples says how many images are compared")
    conditional: ClassVar = False

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: Callable[..., nn.Module],
        loss: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None = None,
        d_lr_factor: Above0 = 1.0,
        d_steps: Positive = 1,
        g_steps: Positive = 1,
        pack: Positive = 1,
        r1: AtLeast0 = 0.0,
        r1_every: Positive = 1,
        input_noise: AtLeast0 = 0.0,
        input_noise_until: Above0To1 = 0.5,
        noisy: Literal["both", "real"] = "both",
        average: Below1 = 0.999,
        candidates: Positive = 1,
        samples: Positive = 10000,
        classifier: str | None = None,
        neighbours: Positive = 5,
        inception: str | None = None,
        classifier_steps: Count = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        counts = {
            "d_steps": d_steps,
            "g_steps": g_steps,
            "pack": pack,
            "r1_every": r1_every,
            "candidates": candidates,
            "neighbours": neighbours,
        }
        weights = {"d_lr_factor": d_lr_factor, "r1": r1, "input_noise": input_noise}
        for name, value in (counts | weights).items():
            if value < (1 if name in counts else 0):
                raise UserError(f"task.{name}={value}: {1 if name in counts else 0} and more")
        if not 0 <= average < 1:
            raise UserError(f"task.average={average}: 0 to below 1")
        if not 0 < input_noise_until <= 1:
            raise UserError(f"task.input_noise_until={input_noise_until}: a share of the training, above 0 to 1")
        if samples < 100 or classifier_steps < 0:
            raise UserError(f"task.samples={samples}: at least 100; task.classifier_steps={classifier_steps}: 0 and more")
        classes = len(spec.class_names) if self.conditional else 0
        if self.conditional and classes < 2:
            raise UserError(f"task=cgan: the data have {classes} classes, and a condition takes two; use task=gan, or give labels")
        if pack > 1 and classes:
            raise UserError(f"task.pack={pack}: items of unlike classes cannot be judged together; set it to 1")
        if pack > 1 and candidates > 1:
            raise UserError(f"task.candidates={candidates}: packed items are not judged one by one; set it or task.pack to 1")
        self.spec = spec
        self.model: Any = model(spec.image_shape, classes, pack)
        self.loss: Any = loss()
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.d_lr_factor = d_lr_factor
        self.d_steps, self.g_steps, self.pack = d_steps, g_steps, pack
        self.r1, self.r1_every = r1, r1_every
        self.input_noise, self.input_noise_until, self.noisy = input_noise, input_noise_until, noisy
        self.average_weight = average
        self.candidates = candidates
        self.samples = samples
        self.classifier = classifier
        self.neighbours = neighbours
        self._inception_weights = inception
        self.inception: list[InceptionDistance] = []  # a list keeps its network out of the checkpoint
        self.classifier_steps = classifier_steps
        self.average: Any = copy.deepcopy(self.model.generator).requires_grad_(False) if average else None
        self.steps: Tensor
        self.register_buffer("steps", torch.tensor(0))  # batches; Lightning's own counter counts both networks' steps
        self.alarm = AdversarialAlarm()
        self.watched = True  # whether this step is logged
        self._has_told: set[str] = set()  # sides whose missing metrics are named
        self.judge: Judge | None = None  # `calotype.run` gives it, where there is a classifier; not a module, so not in the checkpoint

    @property
    def alarms(self) -> list[str]:
        return self.alarm.told

    def setup(self, stage: str) -> None:
        # Before training: that there are no weights is not to be found out after it. A finished run is used without.
        if self._inception_weights and not self.inception:
            self.inception = [InceptionDistance(self._inception_weights)]

    def forward(self, latent: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (N, Z), and labels (N,) of a conditional model -> items, by the running average of the generator."""
        return (self.model.generator if self.average is None else self.average)(latent, labels)

    def latents(self, n: int, *, seed: int | None = None) -> Tensor:
        """Normal (N, Z): of the run's stream, or of a seed."""
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return torch.randn(n, self.model.latent_size, generator=generator).to(self.device)

    @torch.no_grad()
    def draw(self, n: int, *, seed: int, labels: Tensor | None = None) -> Tensor:
        """`n` items on the CPU, in evaluation mode; the classes take turns where they are not given."""
        was = self.training
        self.eval()
        if self.conditional and labels is None:
            labels = torch.arange(n) % len(self.spec.class_names)
        latent = self.latents(n * self.candidates, seed=seed)
        labels = None if labels is None else labels.to(self.device).repeat_interleave(self.candidates)
        parts = []
        at_once = 500 * self.candidates
        for i in range(0, len(latent), at_once):
            wanted = None if labels is None else labels[i : i + at_once]
            items = self(latent[i : i + at_once], wanted)
            if self.candidates > 1:
                best = self.model.discriminator(items, wanted).view(-1, self.candidates).argmax(1)
                items = items.view(-1, self.candidates, *items.shape[1:])[torch.arange(len(best)), best]
            parts.append(items.float().cpu())
        self.train(was)
        return torch.cat(parts)

    @property
    def own_monitor(self) -> str:
        """The metric that early stopping watches by itself: points have modes, images a coverage."""
        return "val/modes" if len(self.spec.image_shape) == 1 else "val/coverage"

    def unmeasured(self, data: Any) -> dict[str, str]:
        """Return the monitors that this run cannot measure, each with the reason."""
        of_points = ("val/modes", "val/high_quality", "val/mode_kl")
        of_images = [name for name in self.monitors if name not in of_points]
        if data.dataset.centres is not None:
            return dict.fromkeys(of_images, "the data are points, which have val/modes")
        missing = dict.fromkeys(of_points, "it takes points from a known mixture, as dataset=gaussians_2d")
        if self.judge is None:
            reason = "images of two classes" if self.classifier else "task.classifier, which is null"
            return missing | dict.fromkeys(of_images, f"it takes {reason}")
        if not self.conditional:
            missing["val/condition_accuracy"] = "task=gan is told no class; task=cgan is"
        count = min(self._validated, data.split_manifest["sizes"]["val"])
        takes = {"val/frechet_distance": MIN_FOR_DISTANCE, "val/kid": MIN_FOR_DISTANCE}
        takes |= dict.fromkeys(("val/precision", "val/recall", "val/density", "val/coverage"), self.neighbours + 1)
        return missing | {name: f"it takes {n} validation images, and there are {count}" for name, n in takes.items() if count < n}

    @property
    def _validated(self) -> int:
        """Generated items that validation's metrics are computed from."""
        return max(100, self.samples // 4)

    def training_step(self, batch: UnlabelledBatch, batch_idx: int) -> None:
        optimizers: Any = self.optimizers()
        g_optimizer, d_optimizer = optimizers
        # Telling Lightning takes a tenth of a step, and it writes down no more than this.
        trainer: Any = self.trainer
        self.watched = (int(self.steps) + 1) % trainer.log_every_n_steps == 0 or trainer.is_last_batch
        labels = batch.labels if self.conditional else None
        images = batch.images[: len(batch.images) // self.pack * self.pack]
        self._discriminator_step(images, labels, d_optimizer)
        self.steps += 1
        if int(self.steps) % self.d_steps == 0:
            for _ in range(self.g_steps):
                self._generator_step(len(images), labels, g_optimizer)
        step_schedulers(self)

    def on_train_epoch_end(self) -> None:
        told = self.alarm.end_of_epoch(self.current_epoch)
        if told:
            warnings.warn(told, stacklevel=1)

    def validation_step(self, batch: UnlabelledBatch, batch_idx: int) -> None:
        """Figures are of all samples together, at the end."""

    def on_validation_epoch_end(self) -> None:
        figures = self._figures("val", self._validated)
        for name, value in figures.items():
            self.log(f"val/{name}", value, prog_bar=name in ("modes", "coverage"), sync_dist=True)
        if self.trainer.sanity_checking:
            return
        told = self.alarm.look_at_figures(figures, self.current_epoch, self.trainer.max_epochs)
        if told:
            warnings.warn(told, stacklevel=1)

    def test_step(self, batch: UnlabelledBatch, batch_idx: int) -> None:
        """As in validation."""

    def on_test_epoch_end(self) -> None:
        figures = self._figures("test", self.samples)
        if self.classifier_steps and self.conditional:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            classes = len(self.spec.class_names)
            labels = torch.arange(self.samples) % classes
            drawn = self.draw(self.samples, seed=3, labels=labels), labels
            real, test = data.images("train"), data.images("test")
            figures |= classifier_accuracies(
                real, drawn, test, num_classes=classes, steps=self.classifier_steps, seed=0, augment=data.augment
            )
        for name, value in figures.items():
            self.log(f"test/{name}", value, sync_dist=True)

    def configure_optimizers(self) -> Any:
        made = [self.optimizer(list(network.parameters())) for network in (self.model.generator, self.model.discriminator)]
        for group in made[1].param_groups:
            group["lr"] *= self.d_lr_factor
        scheduled = [with_schedule(one, self.scheduler, self.trainer.estimated_stepping_batches, self) for one in made]
        return made if self.scheduler is None else scheduled

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["spec"] = self.spec._asdict()

    def _discriminator_step(self, real: Tensor, labels: Tensor | None, optimizer: Any) -> None:
        discriminator = self.model.discriminator
        with torch.no_grad(), still(self.model.generator):
            generated = self.model.generator(self.latents(len(real)), labels)
        sigma = self._noise()
        seen = real + sigma * torch.randn_like(real) if sigma else real
        shown = generated + sigma * torch.randn_like(generated) if sigma and self.noisy == "both" else generated
        seen, shown = self.packed(seen), self.packed(shown)
        # Apart, so that BatchNorm sees either kind by itself.
        real_logits, generated_logits = discriminator(seen, labels), discriminator(shown, labels)
        loss = self.loss(real_logits, generated_logits)
        penalty = None
        if self.loss.gradient_penalty:
            penalty = slope_penalty(lambda x: discriminator(x, labels), seen, shown)
            total = loss + self.loss.gradient_penalty * penalty
        elif self.r1 and int(self.steps) % self.r1_every == 0:
            penalty = r1_penalty(lambda x: discriminator(x, labels), seen)
            total = loss + self.r1 * self.r1_every * penalty
        else:
            total = loss
        descend(self, optimizer, total)
        if self.loss.clip is not None:
            with torch.no_grad():
                for parameter in discriminator.parameters():
                    parameter.clamp_(-self.loss.clip, self.loss.clip)
        self._log("d", loss, discriminator)
        if self.watched:
            self.log_dict({"train/d_real": real_logits.detach().mean(), "train/d_generated": generated_logits.detach().mean()})
        if penalty is not None:
            self.log("train/slope_penalty" if self.loss.gradient_penalty else "train/r1", penalty.detach())

    def _generator_step(self, n: int, labels: Tensor | None, optimizer: Any) -> None:
        discriminator = self.model.discriminator
        discriminator.requires_grad_(False)
        generated = self.model.generator(self.latents(n), labels)
        sigma = self._noise()
        if sigma and self.noisy == "both":
            generated = generated + sigma * torch.randn_like(generated)
        with still(discriminator):
            loss = self.loss.generator(discriminator(self.packed(generated), labels))
        descend(self, optimizer, loss)
        discriminator.requires_grad_(True)
        self._log("g", loss, self.model.generator)
        if self.average is not None:
            follow(self.average, self.model.generator, self.average_weight, int(self.steps))

    def _log(self, which: str, loss: Tensor, network: nn.Module) -> None:
        if self.watched:
            loss = loss.detach()
            norm = torch.nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
            self.log(f"train/{which}_loss", loss, prog_bar=True)
            self.log(f"train/{which}_gradient", norm)
            self.alarm.look(which, loss.item(), norm.item())

    def _noise(self) -> float:
        """Standard deviation now."""
        if not self.input_noise:
            return 0.0
        until = self.input_noise_until * max(1, float(self.trainer.estimated_stepping_batches))
        return self.input_noise * max(0.0, 1 - int(self.steps) / until)

    def packed(self, items: Tensor) -> Tensor:
        """(N, C, ...) -> (N / pack, pack C, ...)."""
        return items if self.pack == 1 else items.reshape(len(items) // self.pack, -1, *items.shape[2:])

    def _figures(self, side: str, n: int) -> dict[str, float]:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if data.dataset.centres is not None:
            return mixture_figures(self.draw(n, seed=1), data.dataset.centres, data.dataset.std)
        if self.judge is None and not self.inception:
            return {}
        real, _labels = data.images(side, n)
        if self.judge is not None and (reason := too_few(len(real), self.neighbours)) and side not in self._has_told:
            self._has_told.add(side)
            if self.trainer.is_global_zero:
                echo(f"{side}: {len(real)} images are too few for some metrics, which are left out: {reason}")
        wanted = torch.arange(len(real)) % len(self.spec.class_names) if self.conditional else None
        drawn = self.draw(len(real), seed=1, labels=wanted)
        figures: dict[str, float] = {}
        if self.judge is not None:
            others = data.images("train", len(real), seed=1)[0] if side == "test" else None
            figures = self.judge.figures(real, drawn, wanted, others, k=self.neighbours)
        if side == "test" and self.inception and len(real) >= MIN_FOR_DISTANCE:
            figures["inception_frechet_distance"] = self.inception[0](real, drawn)
        return figures


class still:
    """Within it, a network in training changes no buffer: neither BatchNorm's statistics nor the vectors of spectral normalisation."""

    def __init__(self, network: nn.Module) -> None:
        self.norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
        self.spectral = [m for m in network.modules() if isinstance(m, _SpectralNorm)]

    def __enter__(self) -> None:
        for norm in self.norms:  # which goes on normalising by the batch
            norm.track_running_stats = False
        for vectors in self.spectral:
            vectors.training = False

    def __exit__(self, *_: Any) -> None:
        for norm in self.norms:
            norm.track_running_stats = True
        for vectors in self.spectral:
            vectors.training = True

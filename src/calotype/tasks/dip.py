"""Deep image prior: a network with random weights, fitted to one degraded image, shows the clean one before it shows the noise."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from calotype.callbacks.divergence import single_precision
from calotype.callbacks.run_state import end_training
from calotype.data.operators import Identity
from calotype.data.tiles import blend_window
from calotype.metrics.classical_restoration import denoised, enlarged, filled
from calotype.metrics.restoration import Restoration, psnr, restoration
from calotype.ranges import AtLeast0, Below1, Positive
from calotype.tasks.schedule import with_schedule
from calotype.trainer_keys import LENGTH, NO_VALIDATION, ONE_PICTURE, ignoring
from calotype.types import DataSpec, Needs, SingleImageBatch, UserError

OUTPUTS = ("kept", "average", "last")  # what is merged over tiles and runs, in this order
CURVES = ("loss", "variance", "held_out", "psnr", "psnr_average", "hole_psnr_average")  # of every iteration


class DeepImagePrior(LightningModule):
    """Minimises loss(A(net(z)), observed) over the weights of the network, with z fixed (Ulyanov et al., "Deep Image Prior", 2018).

    An image larger than a tile, and `runs` above 1, are fitted one after the other, each from new random weights; results are blended
    over tiles and averaged over runs.

    Args:
        spec: of the data; `calotype.run` gives it.
        model: called with (image_shape); has `latent`, its fixed input.
        loss: called without arguments; one with `penalty` (SURE) is given the network as a function of what was observed.
        optimizer: called with the parameters.
        scheduler: called with the optimizer, anew for every tile and run.
        operator: A, how the clean image became the observed one.
        stop: called with (image_shape): which output to keep, and when to stop.
        iterations: of a tile and run, at most.
        jitter: standard deviation of the normal noise that is added to z in every iteration.
        average: weight of the past in the running average of outputs, 0 (none) to below 1; what is kept is the average.
        runs: how many results are averaged.

    Logged: train/loss, train/variance or train/held_out; train/psnr and train/psnr_average (of the running average) where the clean
    image is known.
    Figures: see `metrics.restoration.restoration`.
    """

    needs = Needs(batch=SingleImageBatch, model="Image", loss=("output", "observed", "known"))
    # Keys of the trainer that it does not obey, and why.
    ignores: ClassVar = {
        **ignoring(LENGTH, "task.iterations and task/stop end its training"),
        **NO_VALIDATION,
        **ONE_PICTURE,
    }

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: Callable[..., nn.Module],
        loss: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None = None,
        operator: nn.Module,
        stop: Callable[..., Any],
        iterations: Positive = 3000,
        jitter: AtLeast0 = 1 / 30,
        average: Below1 = 0.99,
        runs: Positive = 1,
    ) -> None:
        super().__init__()
        if iterations < 1 or runs < 1 or jitter < 0 or not 0 <= average < 1:
            raise UserError(
                f"task: iterations={iterations} and runs={runs}: 1 and more; jitter={jitter}: 0 and more; average={average}: 0 to below 1"
            )
        self.spec = spec
        self.make_model = model
        self.model = model(spec.image_shape)
        self.loss = loss()
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.operator = operator
        self.stop = stop(spec.image_shape)
        if iterations < self.stop.window:
            raise UserError(f"task.iterations={iterations}: the rule that stops needs {self.stop.window}; task/stop=fixed needs none")
        self.iterations = iterations
        self.jitter = jitter
        self.average_weight = average
        self.runs = runs
        self.kept: Tensor
        self.average: Tensor
        self.last: Tensor
        for name in OUTPUTS:
            self.register_buffer(name, torch.zeros(1, *spec.image_shape))
        self.progress: dict[str, Any] = {}  # what the checkpoint says of all tiles and runs
        self.restoration: Restoration | None = None  # of the test
        if hasattr(self.loss, "penalty"):
            if getattr(self.model, "latent_kind", None) != "observed":
                raise UserError("loss=dip/sure: the network must be given the observed image; set model.latent=observed")
            if not isinstance(operator, Identity):
                raise UserError("loss=dip/sure: the estimate holds for noise alone; choose data/operator=identity")

    def forward(self, latent: Tensor) -> Tensor:
        """A latent -> an image (1, C, H, W) in [0, 1]."""
        return self.model(latent)

    def on_test_start(self) -> None:
        self._look_at_data()  # a resumed run may have nothing left to fit

    def _look_at_data(self) -> None:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        image: SingleImageBatch = data.image
        self._overlap = data.overlap
        self._factor = data.factor
        self._sigma = data.sigma
        self._fills = isinstance(self.operator, Identity) and not image.known.all() and not data.sigma

    def on_fit_start(self) -> None:
        self._look_at_data()
        image: SingleImageBatch = self.trainer.datamodule.image  # type: ignore[attr-defined]
        if not self.progress:
            jobs = len(image.corners) * self.runs
            shape = [side * self._factor for side in image.observed.shape[-2:]]
            self.progress = {
                "job": 0,
                "unsettled": 0,  # fits that task.iterations ended before the rule did
                "iteration": 0,
                "kept_at": torch.zeros(jobs, dtype=torch.int64),
                "curves": torch.full((jobs, self.iterations, len(CURVES)), torch.nan),
                "merged": torch.zeros(len(OUTPUTS), self.spec.image_shape[0], *shape),
                "weight": torch.zeros(1, 1, *shape),
            }
        self.progress = {k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in self.progress.items()}

    def training_step(self, batch: SingleImageBatch, batch_idx: int) -> Tensor:
        tile = self._tile(batch)
        held = self._held(tile)
        known = tile.known if held is None else tile.known - held
        estimated = hasattr(self.loss, "penalty")
        latent: Tensor = self.model.latent  # type: ignore[assignment]
        if getattr(self.model, "latent_kind", None) == "observed":
            latent = self._padded(tile.observed)
        if self.jitter:
            # Not randn_like: drawn into the channels_last layout of the latent, normal numbers take six times as long.
            latent = latent + self.jitter * torch.randn(latent.shape, device=latent.device)
        output = self.model(latent)
        with torch.autocast(self.device.type, enabled=False):
            loss = self.loss(self.operator(output.float()), tile.observed, known)
        if estimated:
            loss = loss + self.loss.penalty(lambda image: self.model(self._padded(image)), tile.observed, output)  # type: ignore[operator]
        with torch.no_grad():
            self._follow(output.detach().float(), loss.detach(), tile)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: SingleImageBatch, batch_idx: int) -> None:
        self.progress["iteration"] += 1
        # Not every time: asking makes a GPU wait.
        if self.progress["iteration"] >= self.iterations or (self.progress["iteration"] % 10 == 0 and self.stop.done):
            self._end_job(batch)

    def on_train_epoch_end(self) -> None:
        if not self.last.isfinite().all():
            raise UserError(
                f"the output is no longer a number after {self.trainer.global_step} iterations: lower optimizer.lr"
                f"{single_precision(self.trainer, ' or set ')}"
            )
        job = min(self.progress["job"], len(self.progress["curves"]) - 1)
        row = self.progress["curves"][job]
        row = row[~row[:, 0].isnan()]
        if len(row):
            for name, value in zip(CURVES[1:], row[-1, 1:].tolist(), strict=True):
                if value == value:
                    self.log(f"train/{name}", value, prog_bar=name == "psnr_average")

    def test_step(self, batch: SingleImageBatch, batch_idx: int) -> None:
        self.restoration = self._restoration(batch)
        for name, value in self.restoration.figures.items():
            self.log(name, value, batch_size=1)

    def configure_optimizers(self) -> Any:
        return with_schedule(self.optimizer(self.model.parameters()), self.scheduler, self.iterations)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["spec"] = self.spec._asdict()
        checkpoint["progress"] = self.progress

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.progress = checkpoint["progress"]

    def _follow(self, output: Tensor, loss: Tensor, tile: SingleImageBatch) -> None:
        at = self.progress["iteration"]
        self.last.copy_(output)
        # At first over the last quarter of what there was: a long memory would hold on to the noise of the beginning.
        self.average.lerp_(output, max(1 - self.average_weight, 4 / (at + 4)))
        held, held_out = self._held(tile), None
        if held is not None:
            squared = (self.operator(self.average) - tile.observed).square() * held
            held_out = squared.sum() / (held.sum() * squared.shape[1])
        keep = self.stop.update(output, held_out)
        self.kept.copy_(torch.where(keep, self.average, self.kept))
        job = self.progress["job"]
        kept_at = self.progress["kept_at"]
        kept_at[job] = torch.where(keep, at + 1, kept_at[job])
        row = [loss, self.stop.variance, loss.new_tensor(torch.nan) if held_out is None else held_out]
        if len(tile.clean):
            holes = 1 - tile.known if self._fills else None
            last, average = (self._with_known(image, tile) for image in (self.last, self.average))
            row += [psnr(last, tile.clean), psnr(average, tile.clean)]
            row += [psnr(average, tile.clean, holes)] if holes is not None and holes.any() else []
        self.progress["curves"][job, at, : len(row)] = torch.stack([value.float() for value in row])

    @property
    def alarms(self) -> list[str]:
        unsettled = self.progress.get("unsettled", 0)
        fits = len(self.progress.get("curves", ()))
        if not unsettled:
            return []
        which = "" if fits == 1 else f" in {unsettled} of {fits} fits"
        return [f"after {self.iterations} iterations the rule that stops had not settled{which}: a larger task.iterations may restore more"]

    def on_train_end(self) -> None:
        for told in self.alarms:
            warnings.warn(told, stacklevel=1)

    def _end_job(self, batch: SingleImageBatch) -> None:
        if self.stop.window > 1 and not self.stop.done:  # a fixed number of iterations needs no more
            self.progress["unsettled"] = self.progress.get("unsettled", 0) + 1  # not there in older checkpoints
        self._merge(batch, self.progress["merged"], self.progress["weight"])
        self.progress["job"] += 1
        self.progress["iteration"] = 0
        if self.progress["job"] == len(self.progress["curves"]):
            end_training(self, "task/stop" if self.stop.done else "task.iterations")
            return
        self.model.load_state_dict(self.make_model(self.spec.image_shape).state_dict())
        self.stop.forget(same_tile=self.progress["job"] % self.runs > 0)
        self.trainer.strategy.setup_optimizers(self.trainer)

    def _merge(self, batch: SingleImageBatch, merged: Tensor, weight: Tensor) -> None:
        """Add the outputs of the tile that was fitted last, less towards its edges."""
        height, width = self.spec.image_shape[1:]
        window = blend_window(height, width, self._overlap if len(batch.corners) > 1 else 0).to(merged)
        held = self._held(self._tile(batch))
        if held is not None and held.shape[2:] == window.shape[-2:]:
            window = window * (1 - 0.999 * held[0])  # what a fit did not see it leaves to the others, where there are any
        top, left = batch.corners[self.progress["job"] // self.runs].tolist()
        here = (..., slice(top, top + height), slice(left, left + width))
        merged[here] += window * torch.cat([getattr(self, name) for name in OUTPUTS])
        weight[here] += window

    def _restoration(self, batch: SingleImageBatch) -> Restoration:
        """Also of a run that was cut off: what was not reached shows the observed image."""
        merged, weight = self.progress["merged"].clone(), self.progress["weight"].clone()
        if self.progress["iteration"]:
            self._merge(batch, merged, weight)
        missing = F.interpolate(batch.observed, scale_factor=self._factor) if self._factor > 1 else batch.observed
        merged = torch.where(weight > 0, merged / weight.clamp(min=1e-9), missing)
        kept, average, last = (self._with_known(image[None], batch).float().cpu() for image in merged)
        done = (~self.progress["curves"][..., 0].isnan()).sum(1)
        return restoration(
            batch._replace(**{k: v.cpu() for k, v in batch._asdict().items()}),
            {"at_stop": kept, "ema": average, "last": last},
            curves={name: self.progress["curves"][..., i].cpu() for i, name in enumerate(CURVES)},
            kept_at=self.progress["kept_at"][done > 0].cpu(),
            yardsticks=self._yardsticks(batch),
        )

    def _yardsticks(self, batch: SingleImageBatch) -> dict[str, Tensor]:
        observed, known = batch.observed.cpu(), batch.known.cpu()
        if self._factor > 1:
            return enlarged(observed, self._factor)
        if not known.all():
            return filled(observed, known)
        known_sigma = self._sigma is not None and isinstance(self.operator, Identity)
        return denoised(observed, self._sigma / 255 if known_sigma else None)

    def _tile(self, batch: SingleImageBatch) -> SingleImageBatch:
        height, width = self.spec.image_shape[1:]
        top, left = batch.corners[self.progress["job"] // self.runs].tolist()
        factor = self._factor
        small = (..., slice(top // factor, (top + height) // factor), slice(left // factor, (left + width) // factor))
        clean = batch.clean[..., top : top + height, left : left + width]
        return SingleImageBatch(batch.observed[small], batch.known[small], clean, batch.corners)

    def _held(self, tile: SingleImageBatch) -> Tensor | None:
        """What the rule that stops holds out of the observed pixels, (1, 1, h, w) of 0 and 1."""
        held: Tensor | None = self.stop.held
        return None if held is None else held[..., : tile.known.shape[2], : tile.known.shape[3]] * tile.known

    def _with_known(self, image: Tensor, batch: SingleImageBatch) -> Tensor:
        """Pixels that were observed without noise are what they are."""
        return torch.where(batch.known > 0, batch.observed, image) if self._fills else image

    def _padded(self, observed: Tensor) -> Tensor:
        latent: Tensor = self.model.latent  # type: ignore[assignment]
        height, width = latent.shape[-2:]
        return F.pad(observed, (0, width - observed.shape[-1], 0, height - observed.shape[-2]), mode="replicate")

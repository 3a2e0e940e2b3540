"""Neural style transfer: the pixels of a picture are optimized until a network sees one picture's content in another's style."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from calotype.callbacks.divergence import single_precision
from calotype.callbacks.run_state import end_training
from calotype.datasets.image_file import read_image
from calotype.losses.style import Gram
from calotype.metrics.style import Stylization, luma_ssim, patch_distance
from calotype.ranges import Above0, AtLeast0, Below1, NotEmpty, Positive
from calotype.tasks.colours import with_chroma_of, with_colours_of
from calotype.tasks.schedule import with_schedule
from calotype.tasks.style_objective import StyleObjective, Targets
from calotype.trainer_keys import LENGTH, NO_VALIDATION, ONE_PICTURE, ignoring
from calotype.types import ContentStyleBatch, DataSpec, Needs, UserError


class StyleTransfer(LightningModule):
    """Minimises alpha J_content + beta J_style + gamma J_tv over the pixels (Gatys et al., 2016), from coarse to fine.

    Args:
        spec: of the data; `calotype.run` gives it.
        model: called without arguments; a frozen network whose features are compared.
        loss: called without arguments; the distance of a layer's statistics.
        optimizer: called with the pixels; L-BFGS or any other.
        scheduler: called with the optimizer, anew for every scale.
        judge: called without arguments; another network, for the held-out style distance; none by default.
        content_weight, style_weight, tv_weight: alpha, beta, gamma; content and style are shares of the targets' energy.
        content_layers, style_layers: names of layers with their weights lambda; the model's own by default.
        scales: sizes that are painted one after the other, as shares of the content's, each from the one before.
        steps: of the optimizer, for each scale.
        start: what is repainted: content, noise, or an image file.
        average: weight of the past in the running average of pixels, which is then the result; 0 (none) to below 1.
        colours: whose the result shall have: the style's, as they come; matched: the style's, by giving them to the content beforehand, so
            that the two losses do not pull at them; or the content's (its chroma is put back; Gatys et al., 2017).

    Logged: train/loss, train/content_loss, train/style_loss. Figures: see `_figures`.
    """

    needs = Needs(batch=ContentStyleBatch, model="Features", loss=("found", "wanted"))
    leaves_out = ("model.", "judge.")
    # Keys of the trainer that it does not obey, and why.
    ignores: ClassVar = {
        **ignoring(LENGTH, "task.steps and task.scales end its training"),
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
        judge: Callable[..., nn.Module] | None = None,
        content_weight: AtLeast0 = 1.0,
        style_weight: AtLeast0 = 1.0,
        tv_weight: AtLeast0 = 0.0,
        content_layers: Mapping[str, AtLeast0] | None = None,
        style_layers: Mapping[str, AtLeast0] | None = None,
        scales: Annotated[Sequence[Above0], NotEmpty] = (1.0,),
        steps: Positive = 500,
        start: str = "content",
        average: Below1 = 0.0,
        colours: Literal["style", "matched", "content"] = "style",
    ) -> None:
        super().__init__()
        if not scales or not all(0 < scale <= 1 for scale in scales) or scales[-1] != 1 or steps < 1 or not 0 <= average < 1:
            raise UserError(
                f"task: scales={list(scales)}: above 0 to 1, and 1 the last; steps={steps}: 1 and more; average={average}: 0 to below 1"
            )
        self.spec = spec
        self.model = model()
        self.judge = None if judge is None else judge()
        self.objective = StyleObjective(
            self.model,
            loss(),
            content_layers=content_layers,
            style_layers=style_layers,
            content_weight=content_weight,
            style_weight=style_weight,
            tv_weight=tv_weight,
        )
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scales = [float(scale) for scale in scales]
        self.steps = steps
        self.start = start
        self.average_weight = average
        self.colours = colours
        self.step = 0  # of all scales
        # (3, H, W): of four dimensions it would be laid out as convolutions' weights are, which L-BFGS cannot take.
        self.pixels = nn.Parameter(torch.zeros(3, *self._size(0)))
        self.average: Tensor
        self.register_buffer("average", torch.zeros(3, *self._size(0)))
        self._targets: Targets | None = None
        self.stylization: Stylization | None = None  # of the test

    def picture(self) -> Tensor:
        """As it stands, (1, 3, H, W) in [0, 1] at the size of the scale, in the colours that the result is to have."""
        picture = self._painted()
        if self.colours != "content":
            return picture
        content = self.trainer.datamodule.image.content.to(picture)  # type: ignore[attr-defined]
        content = F.interpolate(content, picture.shape[2:], mode="bicubic", antialias=True, align_corners=False)
        return with_chroma_of(picture, content.clamp(0, 1))

    def _painted(self) -> Tensor:
        """In its own colours; the last that was made of numbers."""
        return self.average[None].clamp(0, 1)

    def on_fit_start(self) -> None:
        if self.step == 0:
            batch: ContentStyleBatch = self._prepared(self.trainer.datamodule.image)  # type: ignore[attr-defined]
            self.pixels.data.copy_(self._first(batch.content))
            self.average.copy_(self.pixels.data)

    def training_step(self, batch: ContentStyleBatch, batch_idx: int) -> Tensor:
        if self._targets is None:
            self._targets = self.objective.targets(_scaled(self._prepared(batch), self.scales[self._scale]))
        losses = self.objective.losses(self.pixels[None], self._targets)
        if not losses["total"].isfinite():
            raise UserError(
                f"the loss is no longer a number at step {self.step + 1}; images/result.png is the last good picture; "
                f"lower optimizer.lr{single_precision(self.trainer, ' or set ')}"
            )
        self.log("train/loss", losses["total"], prog_bar=True)
        self.log("train/content_loss", losses["content"])
        self.log("train/style_loss", losses["style"])
        return losses["total"]

    def on_train_batch_end(self, outputs: Any, batch: ContentStyleBatch, batch_idx: int) -> None:
        with torch.no_grad():
            if not isinstance(self._optimizer(), LBFGS):  # whose memory of the slope a clamp would falsify
                self.pixels.clamp_(0, 1)
            within = self.step % self.steps
            if self.pixels.isfinite().all():
                # The mean of all at first: the picture that a scale starts from shall not stay in it.
                self.average.lerp_(self.pixels, max(1 - self.average_weight, 1 / (within + 1)))
        self.step += 1
        if self.step == self.steps * len(self.scales):
            end_training(self, "task.steps")
        elif self.step % self.steps == 0:
            self._enlarge()

    def on_train_end(self) -> None:
        if not self.pixels.isfinite().all():
            advice = f"lower optimizer.lr{single_precision(self.trainer, ' or set ')}"
            raise UserError(f"the picture is no longer made of numbers; {advice}")

    def test_step(self, batch: ContentStyleBatch, batch_idx: int) -> None:
        with torch.autocast(self.device.type, enabled=False):
            result = F.interpolate(self._painted(), self.spec.image_shape[1:], mode="bicubic", align_corners=False).clamp(0, 1)
            figures = self._figures(batch, result)
        if self.colours == "content":
            result = with_chroma_of(result, batch.content)
        figures |= {"ssim_content": luma_ssim(result, batch.content).item(), "steps": float(self.step)}
        figures["patch_distance"] = _mean_distance(result, batch)
        self.stylization = Stylization(batch.content, batch.styles, result, figures)
        for name, value in figures.items():
            self.log(name, value, batch_size=1)

    def configure_optimizers(self) -> Any:
        return with_schedule(self.optimizer([self.pixels]), self.scheduler, self.steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The frozen networks are left out: the config says where they come from."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value for name, value in state.items() if not name.startswith(("model.", "judge."))}
        checkpoint["spec"] = self.spec._asdict()
        checkpoint["progress"] = {"step": self.step}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.step = checkpoint["progress"]["step"]
        kept: Tensor = checkpoint["state_dict"]["pixels"]
        self.pixels = nn.Parameter(torch.zeros_like(kept, device=self.device))
        self.average = torch.zeros_like(kept, device=self.device)
        checkpoint["state_dict"] |= {name: value for name, value in self.state_dict().items() if name.startswith(("model.", "judge."))}

    @property
    def _scale(self) -> int:
        return min(self.step // self.steps, len(self.scales) - 1)

    def _prepared(self, batch: ContentStyleBatch) -> ContentStyleBatch:
        """What is optimized towards."""
        if self.colours != "matched":
            return batch
        return batch._replace(content=with_colours_of(batch.content, batch.styles, batch.weights))

    def _size(self, scale: int) -> tuple[int, int]:
        height, width = (max(1, round(side * self.scales[scale])) for side in self.spec.image_shape[1:])
        return height, width

    def _first(self, content: Tensor) -> Tensor:
        if self.start == "noise":
            return torch.rand(self.pixels.shape, device=content.device)
        image = content if self.start == "content" else read_image(Path(self.start))[None].to(content.device).float() / 255
        return F.interpolate(image, self._size(0), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)[0]

    def _enlarge(self) -> None:
        """Go on at the next scale, from the picture of this one, with a new optimizer."""
        image = F.interpolate(self._painted(), self._size(self._scale), mode="bicubic", align_corners=False).clamp(0, 1)[0]
        self.pixels = nn.Parameter(image)
        self.average = image.clone()
        self._targets = None
        self.trainer.strategy.setup_optimizers(self.trainer)

    def _optimizer(self) -> Optimizer:
        return self.trainer.optimizers[0]

    def _figures(self, batch: ContentStyleBatch, result: Tensor) -> dict[str, float]:
        """Losses of the result in single precision, by layer, before the content's colours are put back; the mean Gram distance over the
        judge's layers; and the same of the content image and the style image themselves, the ends of the scale."""
        targets = self.objective.targets(self._prepared(batch))
        losses = self.objective.losses(result, targets)
        figures = {f"{name}_loss" if "/" not in name else name.replace("/", "_loss/"): value.item() for name, value in losses.items()}
        figures["loss"] = figures.pop("total_loss")
        figures["content_image/style_loss"] = self.objective.losses(batch.content, targets)["style"].item()
        figures["content_image/patch_distance"] = _mean_distance(batch.content, batch)
        # Two draws of the style's own patches: no picture can be expected to be nearer.
        figures["style_image/patch_distance"] = sum(
            w * patch_distance(image, image).item() for w, image in zip(batch.weights.tolist(), batch.styles, strict=True)
        )
        figures["style_image/ssim_content"] = luma_ssim(
            F.interpolate(batch.styles[0], batch.content.shape[-2:], mode="bilinear", antialias=True), batch.content
        ).item()
        if self.judge is not None:
            own: Any = self.judge
            judge = StyleObjective(self.judge, Gram(), content_layers={}, style_layers=own.style_layers)
            seen = judge.targets(batch)
            for prefix, image in (("", result), ("content_image/", batch.content)):
                figures[f"{prefix}heldout/style_distance"] = judge.losses(image, seen)["style"].item() / len(judge.style_layers)
        return figures


def _scaled(batch: ContentStyleBatch, scale: float) -> ContentStyleBatch:
    if scale == 1:
        return batch

    def smaller(image: Tensor) -> Tensor:
        size = [max(1, round(side * scale)) for side in image.shape[-2:]]
        mode = "bicubic" if image.shape[1] == 3 else "bilinear"  # of pictures, and of masks
        return F.interpolate(image, size, mode=mode, antialias=True, align_corners=False).clamp(0, 1)

    styles, inside, parts = (tuple(map(smaller, images)) for images in (batch.styles, batch.content_masks, batch.style_masks))
    return batch._replace(content=smaller(batch.content), styles=styles, content_masks=inside, style_masks=parts)


def _mean_distance(image: Tensor, batch: ContentStyleBatch) -> float:
    return sum(w * patch_distance(image, style).item() for w, style in zip(batch.weights.tolist(), batch.styles, strict=True))

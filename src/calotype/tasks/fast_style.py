"""Fast style transfer: a network is trained once to paint one style, and then paints any picture in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from calotype.metrics.style import Stylization, luma_ssim, patch_distance
from calotype.ranges import AtLeast0
from calotype.tasks.schedule import with_schedule
from calotype.tasks.style_objective import StyleObjective, Targets
from calotype.trainer_keys import NO_VALIDATION
from calotype.types import ContentStyleBatch, DataSpec, Needs, UserError


class FastStyle(LightningModule):
    """Minimises alpha J_content + beta J_style + gamma J_tv over the weights of a network that repaints (Johnson et al., 2016).

    Args:
        spec: of the data; `calotype.run` gives it.
        model: called without arguments; images -> repainted images.
        features: called without arguments, when training starts; the frozen network whose features are compared. Not in the checkpoint.
        loss: called without arguments; the distance of a layer's statistics.
        optimizer, scheduler: called with the parameters, and with the optimizer.
        content_weight, style_weight, tv_weight, content_layers, style_layers: see `StyleObjective`.

    Logged: train/loss, train/content_loss, train/style_loss. Figures, of the validation image: content_loss, style_loss, patch_distance,
    ssim_content, and the content image's own.
    """

    needs = Needs(batch=ContentStyleBatch, model="Stylized", loss=("found", "wanted"))
    # What a callback may watch, and which way is better; the first is what early stopping watches by itself.
    monitors: ClassVar = {"train/loss": "min", "train/content_loss": "min", "train/style_loss": "min"}
    leaves_out = ("features.",)
    # Keys of the trainer that it does not obey, and why.
    ignores: ClassVar = NO_VALIDATION

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: Callable[..., nn.Module],
        features: Callable[..., nn.Module],
        loss: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None = None,
        content_weight: AtLeast0 = 1.0,
        style_weight: AtLeast0 = 1.0,
        tv_weight: AtLeast0 = 0.0,
        content_layers: Mapping[str, AtLeast0] | None = None,
        style_layers: Mapping[str, AtLeast0] | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.model = model()
        self.optimizer = optimizer
        self.scheduler = scheduler
        self._features = features
        self._objective_options: dict[str, Any] = {
            "distance": loss(),
            "content_layers": content_layers,
            "style_layers": style_layers,
            "content_weight": content_weight,
            "style_weight": style_weight,
            "tv_weight": tv_weight,
        }
        self.features: nn.Module | None = None
        self._targets: Targets | None = None
        self.stylization: Stylization | None = None  # of the test

    @property
    def network(self) -> Any:
        """The network that paints."""
        return self.model

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 1 or 3, H, W) in [0, 1] -> the same in the style."""
        return self.network(images)

    @torch.no_grad()
    def picture(self) -> Tensor:
        """The test image as it is painted now, (1, 3, H, W)."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        return self.model(data.test.content.to(self.device))

    def setup(self, stage: str) -> None:
        if self.features is None:
            weight = next(parameter for parameter in self.model.parameters() if parameter.ndim == 4)
            channels_last = weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
            layout = torch.channels_last if channels_last else torch.contiguous_format
            self.features = self._features().to(self.device, memory_format=layout)  # type: ignore[call-overload]
            self.objective = StyleObjective(self.features, **self._objective_options)

    def training_step(self, batch: ContentStyleBatch, batch_idx: int) -> Tensor:
        losses = self._losses(self.model(batch.content), batch)
        if not losses["total"].isfinite():
            raise UserError(f"the loss is no longer a number at step {self.global_step + 1}; lower optimizer.lr, or hardware=cpu")
        self.log("train/loss", losses["total"], prog_bar=True)
        self.log("train/content_loss", losses["content"])
        self.log("train/style_loss", losses["style"])
        return losses["total"]

    def test_step(self, batch: ContentStyleBatch, batch_idx: int) -> None:
        self._targets = None  # the test's styles are of another size
        result = self.model(batch.content)
        with torch.autocast(self.device.type, enabled=False):
            losses = self._losses(result, batch)
            style = batch.styles[0]
            figures = {f"{name}_loss": losses[name].item() for name in ("content", "style")}
            figures |= {
                "loss": losses["total"].item(),
                "content_image/style_loss": self._losses(batch.content, batch)["style"].item(),
                "patch_distance": patch_distance(result, style).item(),
                "content_image/patch_distance": patch_distance(batch.content, style).item(),
                "ssim_content": luma_ssim(result, batch.content).item(),
            }
        self.stylization = Stylization(batch.content, batch.styles, result, figures)
        for name, value in figures.items():
            self.log(name, value, batch_size=1)

    def configure_optimizers(self) -> Any:
        return with_schedule(self.optimizer(self.model.parameters()), self.scheduler, self.trainer.estimated_stepping_batches, self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if not k.startswith("features.")}
        checkpoint["spec"] = self.spec._asdict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] |= {k: v for k, v in self.state_dict().items() if k.startswith("features.")}

    def _losses(self, images: Tensor, batch: ContentStyleBatch) -> dict[str, Tensor]:
        if self._targets is None:
            self._targets = self.objective.targets(batch)
        return self.objective.losses(images, self._targets._replace(content=self.objective.content_targets(batch.content)))

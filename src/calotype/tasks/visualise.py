"""What a network's channels respond to: pictures that are optimized to excite them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from calotype.callbacks.run_state import end_training
from calotype.models.deterministic import sampled
from calotype.ranges import AtLeast0, Below1, Count, Positive
from calotype.tasks.schedule import with_schedule
from calotype.trainer_keys import LENGTH, NO_VALIDATION, ONE_PICTURE, ignoring
from calotype.types import DataSpec, Needs, NoBatch, UserError

# What natural images' colours are spread by (a square root of the covariance of ImageNet's R, G, B, its largest singular value 1).
COLOURS = ((0.5634, 0.1935, 0.0433), (0.5845, 0.0, -0.1082), (0.5833, -0.1948, 0.0644))


class Visualise(LightningModule):
    """Maximises the mean activation of a channel, one picture for each (Olah et al., "Feature Visualization", 2017).

    Pictures are given by their Fourier coefficients in decorrelated colours, each frequency scaled by its wavelength, so that every
    scale is learned alike; each step sees them shifted, turned and zoomed a little. Activations are taken before the non-linearity: a
    ReLU that is shut gives no slope, and a grey picture.

    Args:
        spec: of the data; `calotype.run` gives it.
        model: called without arguments; a frozen network with `visualised_layers`.
        optimizer, scheduler: called with the coefficients, and with the optimizer.
        layers: names with the channels to show; the model's five depths with the first `channels` of each by default.
        channels: of each layer, where `layers` says nothing.
        steps: of the optimizer.
        jitter: pixels that a picture is shifted by, at most, to every side.
        turn: degrees.
        zoom: share.
    """

    needs = Needs(batch=NoBatch, model="Features", loss=None)
    may_change = ("steps",)
    leaves_out = ("model.",)
    # Keys of the trainer that it does not obey, and why.
    ignores: ClassVar = {
        **ignoring(LENGTH, "task.steps ends its training"),
        **NO_VALIDATION,
        **ONE_PICTURE,
    }

    def __init__(
        self,
        *,
        spec: DataSpec,
        model: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None = None,
        layers: Mapping[str, Sequence[Count]] | None = None,
        channels: Positive = 6,
        steps: Positive = 512,
        jitter: Count = 8,
        turn: AtLeast0 = 10.0,
        zoom: Below1 = 0.1,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.model = model()
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.steps = steps
        self.jitter, self.turn, self.zoom = jitter, turn, zoom
        network: Any = self.model
        chosen = dict.fromkeys(network.visualised_layers, range(channels)) if layers is None else layers
        with torch.no_grad():
            _named(list(chosen), network)
            widths = {name: x.shape[1] for name, x in network(torch.zeros(1, 3, 32, 32), list(chosen)).items()}
        self.layers: dict[str, list[int]] = {name: [int(c) for c in wanted] for name, wanted in chosen.items()}
        for name, wanted in self.layers.items():
            if not wanted or min(wanted) < 0 or max(wanted) >= widths[name]:
                raise UserError(f"task.layers.{name}={wanted}: its channels are 0 to {widths[name] - 1}")
        height, width = spec.image_shape[1:]
        count = sum(len(wanted) for wanted in self.layers.values())
        # (K, 3 H, (W / 2 + 1) 2): in three dimensions, so that it is not laid out as convolutions' weights are.
        self.coefficients = nn.Parameter(0.01 * torch.randn(count, 3 * height, 2 * (width // 2 + 1)))
        frequency = torch.sqrt(torch.fft.fftfreq(height)[:, None].square() + torch.fft.rfftfreq(width).square())
        self.register_buffer("wavelength", 1 / frequency.clamp(min=1 / max(height, width)), persistent=False)
        self.step = 0
        self.activations: Tensor | None = None  # of the test, one for each picture

    def forward(self) -> Tensor:
        """The pictures, (K, 3, H, W) in [0, 1], layer after layer."""
        height, width = self.spec.image_shape[1:]
        wavelength: Tensor = self.wavelength  # type: ignore[assignment]
        spectrum = torch.view_as_complex(self.coefficients.view(-1, 3, height, width // 2 + 1, 2)) * wavelength
        plain = torch.fft.irfft2(spectrum, s=(height, width)) * math.sqrt(height * width) / 4
        colours = plain.new_tensor(COLOURS)
        return torch.einsum("ij,njhw->nihw", colours, plain).sigmoid()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        with torch.autocast(self.device.type, enabled=False):
            pictures = self._moved(self())
        activations = self._excited(pictures)
        if not activations.isfinite().all():
            raise UserError(f"the activations are no longer numbers at step {self.step + 1}; lower optimizer.lr, or hardware=cpu")
        self.log("train/activation", activations.mean(), prog_bar=True)
        return -activations.sum()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.step += 1
        if self.step >= self.steps:
            end_training(self, "task.steps")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        with torch.autocast(self.device.type, enabled=False):
            self.activations = self._excited(self())
            noise = self._excited(torch.rand(self().shape, generator=torch.Generator().manual_seed(0)).to(self.device))
        start = 0
        for name, wanted in self.layers.items():
            end = start + len(wanted)
            self.log(f"activation/{name}", self.activations[start:end].mean(), batch_size=1)
            self.log(f"activation_of_noise/{name}", noise[start:end].mean(), batch_size=1)
            start = end

    def configure_optimizers(self) -> Any:
        return with_schedule(self.optimizer([self.coefficients]), self.scheduler, self.steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The frozen network is left out: the config says where it comes from."""
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if not k.startswith("model.")}
        checkpoint["spec"] = self.spec._asdict()
        checkpoint["progress"] = {"step": self.step}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.step = checkpoint["progress"]["step"]
        checkpoint["state_dict"] |= {k: v for k, v in self.state_dict().items() if k.startswith("model.")}

    def _moved(self, pictures: Tensor) -> Tensor:
        """Shifted, turned and zoomed, all pictures alike, on a grey margin that is seen where a picture is moved away."""
        angle = math.radians(self.turn) * (2 * torch.rand(()).item() - 1)
        scale = 1 + self.zoom * (2 * torch.rand(()).item() - 1)
        height, width = pictures.shape[-2:]
        down, right = (2 * self.jitter / side * (2 * torch.rand(()).item() - 1) for side in (height, width))
        cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
        matrix = pictures.new_tensor([[cos, -sin * height / width, right], [sin * width / height, cos, down]])
        (grid,) = F.affine_grid(matrix[None], [1, *pictures.shape[1:]], align_corners=False)
        return sampled(pictures - 0.5, grid) + 0.5

    def _excited(self, pictures: Tensor) -> Tensor:
        """The mean activation of each picture's channel, (K,); every layer is asked with its own pictures only."""
        found, start = [], 0
        for name, wanted in self.layers.items():
            end = start + len(wanted)
            maps = self.model(pictures[start:end], [name])[name]
            found.append(maps[torch.arange(len(wanted)), wanted].float().mean((1, 2)))
            start = end
        return torch.cat(found)


def _named(layers: Sequence[str], network: Any) -> None:
    for name in layers:
        if name not in network.layer_names:
            raise UserError(f"task.layers: {type(network).__name__} has no layer {name}; it has {', '.join(network.layer_names)}")

"""VGG's convolutions with every activation by name, for losses on features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.models.pretrained import obtain
from calotype.ranges import Seed
from calotype.types import Features, UserError
from calotype.weights import load_weights

BLOCKS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions between two poolings
CHANNELS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """The convolutions of VGG (Simonyan and Zisserman, 2015), frozen; images are normalised as ImageNet's are.

    Args:
        depth: 16 or 19, the layers of the whole network.
        weights: imagenet (torchvision's, downloaded once), random (He et al., 2015), or a file of torchvision's state dict, which may lack
            the classifier.
        pooling: max, or average (smoother pictures; Gatys et al., 2016).
        padding: of the convolutions; zeros, as it was trained, or replicate, which leaves no frame.
        seed: of random weights.

    Shapes: images (N, 1 or 3, H, W) in [0, 1] and names of layers, conv1_1, relu1_1 to relu5_3 (relu5_4 of VGG19) and pool1 to pool5 -> a
    map (N, C, h, w) for each name. Nothing behind the deepest of them is computed.
    """

    content_layers: ClassVar = {"relu4_2": 1.0}
    style_layers: ClassVar = {f"relu{i}_1": 1.0 for i in range(1, 6)}
    visualised_layers = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        depth: Literal[16, 19] = 16,
        weights: str = "imagenet",
        pooling: Literal["max", "average"] = "max",
        padding: Literal["zeros", "replicate"] = "zeros",
        seed: Seed = 0,
    ) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {}
        previous = 3
        for i, (count, channels) in enumerate(zip(BLOCKS[depth], CHANNELS, strict=True), 1):
            for j in range(1, count + 1):
                layers[f"conv{i}_{j}"] = nn.Conv2d(previous, channels, 3, padding=1, padding_mode=padding)
                layers[f"relu{i}_{j}"] = nn.ReLU()
                previous = channels
            layers[f"pool{i}"] = nn.MaxPool2d(2) if pooling == "max" else nn.AvgPool2d(2)
        self.layers = nn.ModuleDict(layers)
        self.layer_names = tuple(layers)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)
        if weights == "random":
            self._draw(seed)
        else:
            read = partial(_imagenet, depth) if weights == "imagenet" else partial(_read, Path(weights))
            state = obtain(f"vgg{depth}", lambda: _convolutions(read()))
            if state is not None:
                self._load(state, weights, depth)
        self.requires_grad_(False)

    def forward(self, images: Tensor, layers: Sequence[str]) -> Features:
        wanted = set(layers)
        found: dict[str, Tensor] = {}
        x = (images.expand(-1, 3, -1, -1) - self.mean) / self.std
        before = ""
        for name, layer in self.layers.items():
            if found.keys() >= wanted:
                break
            # In place where nobody asked for what the convolution gave: it does not look at it again.
            x = F.relu_(x) if isinstance(layer, nn.ReLU) and before not in wanted else layer(x)
            before = name
            if name in wanted:
                found[name] = x
        return found

    def _draw(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for layer in self.layers.values():
            if isinstance(layer, nn.Conv2d):
                fan_in = layer.in_channels * 9
                layer.weight.data.normal_(0, math.sqrt(2 / fan_in), generator=generator)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def _load(self, state: Mapping[str, Any], source: str, depth: int) -> None:
        """torchvision numbers convolutions, activations and poolings through: features.0, features.1, ..."""
        for number, (name, layer) in enumerate(self.layers.items()):
            if not isinstance(layer, nn.Conv2d):
                continue
            for part in ("weight", "bias"):
                key, target = f"features.{number}.{part}", getattr(layer, part)
                value = state.get(key)
                if not isinstance(value, Tensor) or value.shape != target.shape:
                    got = "is missing" if value is None else f"is {tuple(getattr(value, 'shape', ()))}"
                    raise UserError(
                        f"model.weights={source}: not VGG{depth}'s: {key} ({name}) {got}, and {tuple(target.shape)} is needed; "
                        f"give the state dict of torchvision.models.vgg{depth}"
                    )
                target.data.copy_(value)
        extra = sorted(k for k in state if k.startswith("features.") and int(k.split(".")[1]) >= len(self.layers))
        if extra:
            raise UserError(f"model.weights={source}: not VGG{depth}'s: it goes on with {extra[0]}; choose the other depth")


def _convolutions(state: Mapping[str, Any]) -> dict[str, Any]:
    """Without the classifier, which is most of the file."""
    return {name: value for name, value in state.items() if name.startswith("features.")}


def _imagenet(depth: int) -> Mapping[str, Any]:
    from torchvision.models import get_weight

    try:
        state: Mapping[str, Any] = get_weight(f"VGG{depth}_Weights.IMAGENET1K_V1").get_state_dict(check_hash=True)
    except (OSError, RuntimeError) as error:
        told = " ".join(str(error).split())
        raise UserError(
            f"model=style/vgg{depth}: the weights could not be downloaded ({told}); give a file of torchvision's vgg{depth} as "
            "model.weights=FILE, or choose model=style/hybrid, which needs no download"
        ) from None
    return state


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise UserError(f"model.weights={path}: no such file (imagenet downloads, random draws)")
    state = load_weights(path, key="model.weights")
    if not isinstance(state, Mapping):
        raise UserError(f"model.weights={path}: holds a {type(state).__name__}, not a state dict")
    return state

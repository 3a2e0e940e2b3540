"""The network that paints a style in one pass."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from calotype.ranges import Count, Positive
from calotype.types import Stage, Stylized


class TransformNet(nn.Module):
    """Two halvings, residual blocks, two doublings (Johnson et al., "Perceptual Losses for Real-Time Style Transfer", 2016).

    Departs from the paper: instance normalisation (Ulyanov et al., 2016) for batch normalisation; nearest-neighbour enlargement and a
    convolution for transposed convolutions, which leave a checkerboard (Odena et al., 2016); a sigmoid for the scaled tanh.

    Args:
        width: channels of the first layer; the middle has four times as many.
        blocks: residual blocks.

    Shapes: images (N, 1 or 3, H, W) in [0, 1], any size -> (N, 3, H, W) in [0, 1].
    """

    grid = 4  # pixels, in height and in width, of a cell between the halvings and the doublings

    def __init__(self, *, width: Positive = 32, blocks: Count = 5) -> None:
        super().__init__()
        self.width = width
        self.blocks = blocks
        self.layers = nn.Sequential(
            unit(3, width, 9),
            unit(width, 2 * width, 3, stride=2),
            unit(2 * width, 4 * width, 3, stride=2),
            *(Residual(4 * width) for _ in range(blocks)),
            nn.Upsample(scale_factor=2),
            unit(4 * width, 2 * width, 3),
            nn.Upsample(scale_factor=2),
            unit(2 * width, width, 3),
            nn.Conv2d(width, 3, 9, padding=4, padding_mode="replicate"),
        )

    def forward(self, images: Tensor) -> Stylized:
        height, width = images.shape[-2:]
        bottom, right = (whole - side for whole, side in zip(self.padded(height, width), (height, width), strict=True))
        x = F.pad(images.expand(-1, 3, -1, -1), (0, right, 0, bottom), mode="replicate")
        return self.layers(x).float().sigmoid()[..., :height, :width]

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """To multiples of 4, and to 8 at least: instance normalisation needs more than one position."""
        return max(8, height + -height % 4), max(8, width + -width % 4)

    def stages(self) -> tuple[Stage, ...]:
        """Halvings, each residual block, doublings: in turn, on a padded image, they are `forward`.

        Reach: 4 + 1 + 2 pixels of the convolutions at scales 1, 1 and 2; twice 4; and 4 + 1 and then 1 cell of 2 pixels.
        """
        halvings, middle, doublings = self.layers[:3], self.layers[3 : 3 + self.blocks], self.layers[3 + self.blocks :]
        return (
            Stage(halvings, 8, 4, 4 * self.width),
            *(Stage(block, 8, 4, 4 * self.width) for block in middle),
            Stage(nn.Sequential(*doublings, ToImage()), 8, 1, 3),
        )


class ToImage(nn.Module):
    """Logits to [0, 1] in single precision."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float().sigmoid()


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(unit(channels, channels, 3), *list(unit(channels, channels, 3))[:2])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def unit(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, instance normalisation, ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, padding_mode="replicate")
    return nn.Sequential(conv, nn.InstanceNorm2d(out_channels, affine=True), nn.ReLU(inplace=True))

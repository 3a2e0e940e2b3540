"""The network that paints a style in one pass."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from calotype.types import Stylized


class TransformNet(nn.Module):
    """Two halvings, residual blocks, two doublings (Johnson et al., "Perceptual Losses for Real-Time Style Transfer", 2016).

    Departs from the paper: instance normalisation (Ulyanov et al., 2016) for batch normalisation; nearest-neighbour enlargement and a
    convolution for transposed convolutions, which leave a checkerboard (Odena et al., 2016); a sigmoid for the scaled tanh.

    Args:
        width: channels of the first layer; the middle has four times as many.
        blocks: residual blocks.

    Shapes: images (N, 1 or 3, H, W) in [0, 1], any size -> (N, 3, H, W) in [0, 1].
    """

    def __init__(self, *, width: int = 32, blocks: int = 5) -> None:
        super().__init__()
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
        # To multiples of 4, and to 8 at least: instance normalisation needs more than one position.
        wide, high = (max(8 - side, -side % 4) for side in (width, height))
        x = F.pad(images.expand(-1, 3, -1, -1), (0, wide, 0, high), mode="replicate")
        return self.layers(x).float().sigmoid()[..., :height, :width]


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

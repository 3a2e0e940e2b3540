"""The lecture's network for faces: three convolutions, each followed by a pooling over 4x4."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from calotype.ranges import AtLeast0, NotEmpty, Positive
from calotype.types import ImageShape, Logits, UserError


class FaceCNN(nn.Module):
    """conv 32, pool 4, conv 64, pool 4, conv 128, pool 4, fc 128, fc K; 3x3, LeakyReLU.

    Args:
        image_shape: (channels, height, width); height and width at least 64.
        num_classes: K.
        widths: channels of the convolutions, one each.
        hidden: units of the hidden layer.
        negative_slope: of LeakyReLU.

    Weights start as Glorot and Bengio (2010) draw them, biases at 0: with torch's own start the first epochs stand still.

    Shapes: images (N, C, H, W) -> logits (N, K).
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int,
        *,
        widths: Annotated[tuple[Positive, ...], NotEmpty] = (32, 64, 128),
        hidden: Positive = 128,
        negative_slope: AtLeast0 = 0.3,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        shrink = 4 ** len(widths)
        if height < shrink or width < shrink:
            raise UserError(
                f"model=face_cnn pools {shrink} to 1 and the images are {height}x{width}: "
                f"set data.preprocess.size to {shrink} or more, or take model=small_resnet"
            )
        layers: list[nn.Module] = []
        for out_channels in widths:
            layers += [nn.Conv2d(channels, out_channels, 3, padding=1), nn.LeakyReLU(negative_slope, inplace=True), nn.MaxPool2d(4)]
            channels = out_channels
        self.features = nn.Sequential(*layers, nn.Flatten())
        flat = channels * (height // shrink) * (width // shrink)
        self.head = nn.Sequential(nn.Linear(flat, hidden), nn.LeakyReLU(negative_slope, inplace=True), nn.Linear(hidden, num_classes))
        for parameter in self.parameters():
            nn.init.zeros_(parameter) if parameter.ndim == 1 else nn.init.xavier_uniform_(parameter)

    def forward(self, images: Tensor) -> Logits:
        return self.head(self.features(images))

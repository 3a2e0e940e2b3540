"""Networks that make one kind of image of another, and discriminators that judge patch by patch."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.ranges import Positive
from calotype.types import ImageShape, Stage, Translated, UserError


class UNetPatch(nn.Module):
    """A U-Net generator and a discriminator of patches that sees the input beside the image (Isola et al., "pix2pix", 2017).

    Departs from the paper: resize-convolutions for transposed ones, which leave a checkerboard; instance normalisation; no noise.

    Args:
        image_shape: (channels, height, width) of the targets.
        input_shape: of the inputs; height and width as the targets'.
        width: channels at the full size.
        levels: halvings of the U-Net.
        patch_levels: halvings of the discriminator: 2 judges patches of 26x26 pixels, 3 of 54x54.
        residual: what the generator gives is added to the input, where that has the targets' channels; then without normalisation.
    """

    goes_back: ClassVar = False  # from the targets to the inputs

    def __init__(
        self,
        image_shape: ImageShape,
        input_shape: ImageShape,
        *,
        width: Positive = 32,
        levels: Positive = 4,
        patch_levels: Positive = 2,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if input_shape[1:] != image_shape[1:]:
            raise UserError(
                f"model: inputs of {input_shape[1]}x{input_shape[2]} and targets of {image_shape[1]}x{image_shape[2]} differ in size"
            )
        if width < 1 or levels < 1 or patch_levels < 1:
            raise UserError(f"model.width={width}, model.levels={levels}, model.patch_levels={patch_levels}: at least 1")
        if residual and input_shape != image_shape:
            raise UserError(f"model.residual=true: an input of {input_shape[0]} channels cannot be added to {image_shape[0]}")
        self.generator = UNetGenerator(input_shape[0], image_shape[0], width, levels, residual)
        self.discriminator = PatchDiscriminator(input_shape[0] + image_shape[0], width, patch_levels)

    def forward(self, inputs: Tensor) -> Translated:
        return self.generator(inputs)


class CycleNetworks(nn.Module):
    """Two generators and two discriminators of patches, for translation without pairs (Zhu et al., "CycleGAN", 2017).

    Args:
        image_shape, input_shape, width, levels, patch_levels: as in `UNetPatch`.
    """

    goes_back: ClassVar = True  # from the targets to the inputs

    def __init__(
        self, image_shape: ImageShape, input_shape: ImageShape, *, width: Positive = 32, levels: Positive = 2, patch_levels: Positive = 2
    ) -> None:
        super().__init__()
        if input_shape[1:] != image_shape[1:]:
            raise UserError(f"model: the domains differ in size, {input_shape[1]}x{input_shape[2]} and {image_shape[1]}x{image_shape[2]}")
        a, b = input_shape[0], image_shape[0]
        self.forth, self.back = UNetGenerator(a, b, width, levels, False), UNetGenerator(b, a, width, levels, False)
        self.judge_targets, self.judge_inputs = PatchDiscriminator(b, width, patch_levels), PatchDiscriminator(a, width, patch_levels)

    def forward(self, inputs: Tensor) -> Translated:
        return self.forth(inputs)


class UNetGenerator(nn.Module):
    """(N, C, H, W) in [0, 1] -> (N, D, H, W) in [0, 1], any size."""

    def __init__(self, in_channels: int, out_channels: int, width: int, levels: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.grid = 2**levels  # pixels, in height and in width, of a cell at the bottom
        sizes = [width * min(2**i, 8) for i in range(levels + 1)]
        norm = not residual  # which would take away how large a difference is
        self.first = _unit(in_channels, width, norm=norm)
        self.down = nn.ModuleList(_unit(a, b, stride=2, norm=norm) for a, b in pairwise(sizes))
        self.up = nn.ModuleList(_unit(b + a, a, norm=norm) for a, b in pairwise(sizes))
        self.last = nn.Conv2d(width, out_channels, 3, padding=1)
        if residual:  # starts as the input
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor) -> Tensor:
        height, width = inputs.shape[2:]
        bottom, right = (whole - side for whole, side in zip(self.padded(height, width), (height, width), strict=True))
        return self.body(F.pad(inputs, (0, right, 0, bottom), mode="replicate"))[..., :height, :width]

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """To a multiple of the halvings, and to two positions at least at the bottom, which instance normalisation needs."""
        grid = self.grid
        return max(2 * grid, height + -height % grid), max(2 * grid, width + -width % grid)

    def stages(self) -> tuple[Stage, ...]:
        """The whole body: what skips a level cannot be cut off from what goes through it.

        Reach: one cell of the bottom, 2 to the power of the levels, and as much again for the convolutions on the way down.
        """
        return (Stage(_Body(self), 2 * self.grid, 1, self.last.out_channels),)

    def body(self, padded: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D, H, W), H and W multiples of the grid."""
        x = self.first(padded * 2 - 1)
        kept = [x]
        for layer in self.down:
            x = layer(x)
            kept.append(x)
        for layer, skip in zip(reversed(self.up), reversed(kept[:-1]), strict=True):
            x = layer(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1))
        made = self.last(x).float()
        # A residual keeps its slope outside [0, 1]; a loss brings it back.
        return padded + made if self.residual else made.sigmoid()


class _Body(nn.Module):
    """A generator without its padding."""

    def __init__(self, generator: UNetGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, padded: Tensor) -> Tensor:
        return self.generator.body(padded)


class PatchDiscriminator(nn.Module):
    """(N, C, H, W) -> logits of patches (N, h, w), above 0 for what is held to be real."""

    def __init__(self, channels: int, width: int, levels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for i in range(1, levels):
            layers += [_conv(width * 2 ** (i - 1), width * 2**i, 2), nn.LeakyReLU(0.2, inplace=True)]
        last = width * 2 ** (levels - 1)
        self.layers = nn.Sequential(*layers, nn.Conv2d(last, last, 3, 1, 1), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(last, 1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images * 2 - 1)[:, 0].float()


def _conv(a: int, b: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, 4, stride, 1), nn.InstanceNorm2d(b, affine=True))


def _unit(a: int, b: int, stride: int = 1, norm: bool = True) -> nn.Sequential:
    norms = [nn.InstanceNorm2d(b, affine=True)] if norm else []
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1), *norms, nn.LeakyReLU(0.2, inplace=True))

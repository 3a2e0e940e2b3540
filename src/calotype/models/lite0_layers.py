"""EfficientNet-Lite0's activations by name, for losses on features; alone, or beside a random VGG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from calotype.models.efficientnet_lite0 import NUM_BLOCKS, EfficientNetLite0Features
from calotype.models.vgg import VGG
from calotype.ranges import Seed
from calotype.types import Features


class EfficientNetLite0Layers(nn.Module):
    """EfficientNet-Lite0 with ImageNet weights, frozen. What a block gives is linear and hardly holds style; what it expands to does.

    Args:
        pretrained: ImageNet's weights, from the extra `calotype[pretrained]`.

    Shapes: images (N, 1 or 3, H, W) in [0, 1] and names of layers, stem, and expand1 to expand15 (the activation after the expansion of
    a block), linear1 to linear15 (the same before ReLU6) -> a map (N, C, h, w) for each name. Nothing behind the deepest is computed.
    """

    content_layers: ClassVar = {"expand5": 1.0}
    style_layers: ClassVar = dict.fromkeys(["stem", "expand1", "expand3", "expand5", "expand8", "expand11"], 1.0)
    visualised_layers = tuple(f"linear{i}" for i in (1, 3, 5, 8, 11))
    layer_names = ("stem", *(f"{kind}{i}" for i in range(1, NUM_BLOCKS) for kind in ("linear", "expand")))  # block 0 expands nothing

    def __init__(self, *, pretrained: bool = True) -> None:
        super().__init__()
        self.features = EfficientNetLite0Features(num_blocks=NUM_BLOCKS, grid=1, pretrained=pretrained)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> EfficientNetLite0Layers:
        """BatchNorm keeps ImageNet's statistics."""
        return super().train(False)

    def forward(self, images: Tensor, layers: Sequence[str]) -> Features:
        wanted = set(layers)
        found: dict[str, Tensor] = {}
        x = self.features.stem((images.expand(-1, 3, -1, -1) - self.features.mean) / self.features.std)
        if "stem" in wanted:
            found["stem"] = x
        block: Any
        for i, block in enumerate(self.features.blocks):
            if found.keys() >= wanted:
                break
            if wanted & {f"linear{i}", f"expand{i}"}:
                linear = block.layers[:2](x)
                expanded = F.relu6(linear)  # not in place as the block's own: the linear map may be asked for
                found |= {name: y for name, y in ((f"linear{i}", linear), (f"expand{i}", expanded)) if name in wanted}
                y = block.layers[3:](expanded)
                x = x + y if block.shortcut else y
            else:
                x = block(x)
        return found


class Hybrid(nn.Module):
    """A random VGG for colour and fine texture, EfficientNet-Lite0 for shape: together style without a download.

    Random filters see every frequency evenly, but no structure; Lite0's first layer steps over every second pixel, which alone leaves a
    checkerboard.

    Args:
        seed: of the random VGG.
        pooling, padding: of the random VGG, see `VGG`.
        pretrained: see `EfficientNetLite0Layers`.

    Shapes: images (N, 1 or 3, H, W) in [0, 1] and names of layers, vgg_relu1_1 to vgg_pool5, lite0_stem and lite0_expand1 to
    lite0_expand15 -> a map (N, C, h, w) for each name.
    """

    content_layers: ClassVar = {"lite0_expand3": 1.0}
    style_layers: ClassVar = {
        **{f"vgg_{name}": 20.0 for name in ("relu1_1", "relu2_1", "relu3_1")},
        **{f"lite0_{name}": 0.5 for name in ("expand1", "expand3", "expand5", "expand8", "expand11")},
    }

    visualised_layers = tuple(f"lite0_{name}" for name in EfficientNetLite0Layers.visualised_layers)

    def __init__(
        self,
        *,
        seed: Seed = 0,
        pooling: Literal["max", "average"] = "average",
        padding: Literal["zeros", "replicate"] = "replicate",
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        self.vgg = VGG(weights="random", seed=seed, pooling=pooling, padding=padding)
        self.lite0 = EfficientNetLite0Layers(pretrained=pretrained)
        self.layer_names = (*(f"vgg_{n}" for n in self.vgg.layer_names), *(f"lite0_{n}" for n in self.lite0.layer_names))

    def forward(self, images: Tensor, layers: Sequence[str]) -> Features:
        found: dict[str, Tensor] = {}
        for prefix, network in (("vgg_", self.vgg), ("lite0_", self.lite0)):
            wanted = [name.removeprefix(prefix) for name in layers if name.startswith(prefix)]
            if wanted:
                found |= {prefix + name: x for name, x in network(images, wanted).items()}
        return found

"""Any of torchvision's classifiers by name."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn

from calotype.types import ImageShape, Logits, UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which torchvision's weights expect


class TorchvisionClassifier(nn.Module):
    """torchvision's classifier `name`, its last layer made for `num_classes`.

    Args:
        image_shape: (channels, height, width); one channel is repeated to three.
        num_classes: K.
        name: as in `torchvision.models.list_models()`: resnet18, mobilenet_v3_small, vit_b_16, ...
        weights: null (random), `DEFAULT` or another name torchvision downloads, or a file of a state dict.

    Shapes: images (N, 1 or 3, H, W) in [0, 1] -> logits (N, K).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, image_shape: ImageShape, num_classes: int, *, name: str = "resnet18", weights: str | None = None) -> None:
        import torchvision

        super().__init__()
        if image_shape[0] not in (1, 3):
            raise UserError(f"model=torchvision takes images of 1 or 3 channels, these have {image_shape[0]}")
        names = torchvision.models.list_models(module=torchvision.models)
        if name not in names:
            near = get_close_matches(name, names, n=3)
            raise UserError(f"model.name={name}: torchvision has no such classifier{'; near: ' + ', '.join(near) if near else ''}")
        file = weights is not None and Path(weights).is_file()
        try:
            self.network = torchvision.models.get_model(name, weights=None if file else weights)
        except (URLError, OSError) as error:
            raise UserError(f"model.weights={weights}: could not be downloaded ({error}); give a file or null") from None
        except (ValueError, KeyError):
            raise UserError(f"model.weights={weights}: neither a file nor weights of {name}; try DEFAULT") from None
        if file and weights is not None:
            stored = torch.load(weights, map_location="cpu", weights_only=True)
            unknown = sorted(set(stored) - set(self.network.state_dict()))
            if unknown:
                raise UserError(f"model.weights={weights}: not weights of {name} ({unknown[0]} is not in it)")
            self.network.load_state_dict(stored, strict=False)
        _replace_last_linear(self.network, num_classes)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Logits:
        logits = self.network((images.expand(-1, 3, -1, -1) - self.mean) / self.std)
        return logits if isinstance(logits, Tensor) else logits[0]  # GoogLeNet and Inception add auxiliary outputs


def _replace_last_linear(network: nn.Module, num_classes: int) -> None:
    """The last Linear, or the 1x1 convolution that SqueezeNet has in its place, gets `num_classes` outputs."""
    path, last = [(p, m) for p, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    parent = network.get_submodule(path.rpartition(".")[0])
    if isinstance(last, nn.Linear):
        new: nn.Module = nn.Linear(last.in_features, num_classes)
    else:
        new = nn.Conv2d(last.in_channels, num_classes, 1)
    setattr(parent, path.rpartition(".")[2], new)

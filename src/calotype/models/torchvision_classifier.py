"""Any of torchvision's classifiers by name."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from calotype.models.pretrained import obtain
from calotype.types import ImageShape, Logits, UserError
from calotype.weights import load_weights

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
        self.network = torchvision.models.get_model(name, weights=None, **_options(name, weights))
        state = None if weights is None else obtain(f"{name}-weights", partial(_read, name, weights))
        if state is not None:
            unknown = sorted(set(state) - set(self.network.state_dict()) - _auxiliary(state))
            if unknown:
                raise UserError(f"model.weights={weights}: not weights of {name} ({unknown[0]} is not in it)")
            self.network.load_state_dict(state, strict=False)
        _replace_last_linear(self.network, num_classes)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Logits:
        logits = self.network((images.expand(-1, 3, -1, -1) - self.mean) / self.std)
        return logits if isinstance(logits, Tensor) else logits[0]  # GoogLeNet and Inception add auxiliary outputs


def _read(name: str, weights: str) -> Mapping[str, Any]:
    """The state dict in a file, or of weights that torchvision knows by name.

    Raises:
        UserError: neither is there, or it could not be downloaded.
    """
    if Path(weights).is_file():
        return load_weights(weights, key="model.weights")
    known = _known(name, weights)
    try:
        return known.get_state_dict(check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        told = " ".join(str(error).split())
        raise UserError(f"model.weights={weights}: could not be downloaded ({told}); give a file or null") from None


def _known(name: str, weights: str) -> Any:
    """torchvision's entry of the weights, DEFAULT or IMAGENET1K_V1, with or without the name of their class."""
    import torchvision

    kinds = torchvision.models.get_model_weights(name)
    try:
        return kinds[weights.removeprefix(f"{kinds.__name__}.")]
    except KeyError:
        raise UserError(f"model.weights={weights}: neither a file nor weights of {name}; try DEFAULT") from None


def _options(name: str, weights: str | None) -> dict[str, Any]:
    """What torchvision builds differently for weights of its own, so that they fit."""
    if weights is None or Path(weights).is_file():
        return {}
    known = _known(name, weights)
    if name == "googlenet":
        return {"transform_input": True, "aux_logits": False, "init_weights": False}
    if name == "inception_v3":
        return {"transform_input": True, "init_weights": False}
    return {"image_size": known.meta["min_size"][0]} if name.startswith("vit_") else {}


def _auxiliary(state: Mapping[str, Any]) -> set[str]:
    """What GoogLeNet's weights hold of classifiers that serve training only, and torchvision leaves out."""
    return {key for key in state if key.startswith(("aux1.", "aux2."))}


def _replace_last_linear(network: nn.Module, num_classes: int) -> None:
    """The last Linear, or the 1x1 convolution that SqueezeNet has in its place, gets `num_classes` outputs."""
    path, last = [(p, m) for p, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    parent = network.get_submodule(path.rpartition(".")[0])
    if isinstance(last, nn.Linear):
        new: nn.Module = nn.Linear(last.in_features, num_classes)
    else:
        new = nn.Conv2d(last.in_channels, num_classes, 1)
    setattr(parent, path.rpartition(".")[2], new)

"""Grouped convolutions in single precision, where the CPU computes the rest in bfloat16."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


def keep_in_single_precision(module: nn.Module) -> None:
    """Let the grouped convolutions of a module compute in single precision, whatever autocast says.

    torch 2.14's bfloat16 kernels for the CPU take memory that nobody wrote into the gradient of a depthwise 5x5
    convolution of stride 2 (MobileNetV3's, say), which then differs from run to run, by up to 1e35. They are also slower
    than those of single precision: 1 to 13 times for the depthwise layers of MobileNetV3, forward and backward.

    The class of such a layer is changed, rather than its forward, so that copies of the module work by themselves.
    """
    for layer in module.modules():
        if isinstance(layer, _ConvNd) and layer.groups > 1 and not isinstance(layer, _SinglePrecision):
            kind: Any = type(layer)
            layer.__class__ = _in_single_precision(kind)


class _SinglePrecision:
    """Marks the classes made below."""


@cache
def _in_single_precision(kind: Any) -> Any:
    """The same class with another forward, which can be pickled although it has no name of its own."""

    def forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return kind.forward(self, x.float(), *args, **kwargs)

    def reduce(self: Any, protocol: int) -> tuple[Any, ...]:
        return _new, (kind,), self.__dict__

    members: dict[str, Any] = {"forward": forward, "__reduce_ex__": reduce, "__doc__": kind.__doc__}
    return type(kind.__name__, (_SinglePrecision, kind), members)


def _new(kind: Any) -> Any:
    made = _in_single_precision(kind)
    return made.__new__(made)

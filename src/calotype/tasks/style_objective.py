"""What style transfer minimises, over pixels or over a network that paints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.losses.style import content_distance, total_variation
from calotype.types import ContentStyleBatch, UserError


class Targets(NamedTuple):
    """What features are compared with."""

    content: dict[str, Tensor]  # of each content layer, (N, C, h, w)
    styles: dict[str, list[dict[str, Tensor]]]  # of each style layer, the statistics of each style
    weights: Tensor  # (S,)
    masks: tuple[Tensor, ...]  # S of (1, 1, H, W), or none


class StyleObjective:
    """alpha content + beta style + gamma total variation, of features in a frozen network (Gatys et al., 2016).

    Args:
        network: images and names of layers -> features.
        distance: a loss of `losses.style`, of a layer's statistics.
        content_layers, style_layers: layers with their weights lambda; the network's own by default.
        content_weight, style_weight, tv_weight: alpha, beta, gamma.
    """

    def __init__(
        self,
        network: nn.Module,
        distance: nn.Module,
        *,
        content_layers: Mapping[str, float] | None = None,
        style_layers: Mapping[str, float] | None = None,
        content_weight: float = 1.0,
        style_weight: float = 1.0,
        tv_weight: float = 0.0,
    ) -> None:
        if min(content_weight, style_weight, tv_weight) < 0:
            raise UserError(f"task: content_weight={content_weight}, style_weight={style_weight}, tv_weight={tv_weight}: 0 and more")
        self.network: Any = network
        self.distance: Any = distance
        own: Any = network
        for key, given in (("content_layers", content_layers), ("style_layers", style_layers)):
            if given is not None and not isinstance(given, Mapping):
                raise UserError(f"task.{key}={list(given)}: layers with their weights, as {{{next(iter(given), 'relu1_1')}: 1.0}}")
        self.content_layers = dict(own.content_layers if content_layers is None else content_layers)
        self.style_layers = dict(own.style_layers if style_layers is None else style_layers)
        self.weights = {"content": content_weight, "style": style_weight, "tv": tv_weight}
        for key, layers in (("content_layers", self.content_layers), ("style_layers", self.style_layers)):
            for name in layers:
                if name not in own.layer_names:
                    raise UserError(f"task.{key}: {type(network).__name__} has no layer {name}; it has {', '.join(own.layer_names)}")

    @torch.no_grad()
    def targets(self, batch: ContentStyleBatch) -> Targets:
        """Of a content and its styles, each at the size that it is to be looked at."""
        masks = batch.style_masks or (None,) * len(batch.styles)
        styles: dict[str, list[dict[str, Tensor]]] = {name: [] for name in self.style_layers}
        for image, mask in zip(batch.styles, masks, strict=True):
            found = self.network(image, list(self.style_layers)) if self.style_layers else {}
            for name, features in found.items():
                styles[name].append(self.distance.statistics(features, _at(mask, features)))
        return Targets(self.content_targets(batch.content), styles, batch.weights, batch.content_masks)

    @torch.no_grad()
    def content_targets(self, content: Tensor) -> dict[str, Tensor]:
        """The features of contents (N, 3, H, W)."""
        found: dict[str, Tensor] = self.network(content, list(self.content_layers)) if self.content_layers else {}
        return found

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Of images (N, 3, H, W): total, content, style, tv, and style/<layer> and content/<layer> before their weights."""
        found = self.network(images, [*self.content_layers, *self.style_layers])
        zero = images.new_zeros(())
        with torch.autocast(images.device.type, enabled=False):
            losses: dict[str, Tensor] = {}
            for name in self.content_layers:
                losses[f"content/{name}"] = content_distance(found[name], targets.content[name])
            for name in self.style_layers:
                losses[f"style/{name}"] = self._style(found[name], targets.styles[name], targets)
            for kind, layers in (("content", self.content_layers), ("style", self.style_layers)):
                losses[kind] = sum((weight * losses[f"{kind}/{name}"] for name, weight in layers.items()), start=zero)
            losses["tv"] = total_variation(images.float())
            losses["total"] = sum((weight * losses[kind] for kind, weight in self.weights.items() if weight), start=zero)
        return losses

    def _style(self, features: Tensor, wanted: Sequence[dict[str, Tensor]], targets: Targets) -> Tensor:
        """The mean over images of the weighted sum over styles."""
        total = features.new_zeros((), dtype=torch.float32)
        for one in features.split(1):
            everywhere = None if targets.masks else self.distance.statistics(one)
            for i, target in enumerate(wanted):
                found = everywhere if everywhere is not None else self.distance.statistics(one, _at(targets.masks[i], one))
                total = total + targets.weights[i] * self.distance(found, target)
        return total / len(features)


def _at(mask: Tensor | None, features: Tensor) -> Tensor | None:
    """The mask at the size of a feature map."""
    return None if mask is None else F.adaptive_avg_pool2d(mask, (features.shape[2], features.shape[3]))

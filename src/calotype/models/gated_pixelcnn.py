"""Gated PixelCNN: one stack for the rows above and one for the row itself, so that no pixel before is out of sight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.models.level_features import LevelFeatures
from calotype.models.masked import MaskedConv2d, Memory, RowsAbove
from calotype.ranges import Below1, Count, NotEmpty, Positive, Two
from calotype.types import ImageShape, Predicted, UserError


class GatedPixelCNN(nn.Module):
    """Layers of tanh(a) sigmoid(b), with a class's bias in both (van den Oord et al., 2016, "Conditional Image Generation with PixelCNN
    Decoders").

    With `head` mixture it gives the parameters of a discretised mixture of logistics for each whole pixel, whose colours depend on
    one another through it alone (Salimans et al., 2017, "PixelCNN++"; their network halves the size within, this one does not).

    Args:
        image_shape: (C, H, W).
        num_classes: K that it is conditioned on, 0 for none.
        levels: of a pixel.
        width: channels of each stack; with head logits a multiple of C.
        dilations: one layer for each; 1 is none.
        kernel: of the first layer, odd; later ones have 3.
        embedding: learned numbers for a pixel's level that are shown beside its value, 0 for none.
        dropout: of a layer's features in training, 0 to 1.
        head: logits (of every level) or mixture.
        mixtures: logistics of a mixture.

    Shapes: images (N, C, H, W) in [0, 1], labels (N,) -> logits (N, levels, C, H, W), or parameters (N, M, H, W), see
    `losses.likelihood.LogisticMixture`.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int = 0,
        levels: Two = 2,
        *,
        width: Positive = 64,
        dilations: Annotated[Sequence[Positive], NotEmpty] = (1, 2, 1, 4, 1, 2, 1),
        kernel: Positive = 7,
        embedding: Count = 0,
        dropout: Below1 = 0.0,
        head: Literal["logits", "mixture"] = "logits",
        mixtures: Positive = 5,
    ) -> None:
        super().__init__()
        colours = image_shape[0] if head == "logits" else 1
        if width % colours:
            raise UserError(f"model.width={width}: must be a multiple of {colours} (colours); choose {width - width % colours or colours}")
        if kernel < 3 or kernel % 2 == 0:
            raise UserError(f"model.kernel={kernel}: must be odd and above 1, as 7")
        channels = image_shape[0]
        self.gives = head
        self.levels = levels
        self.channels = channels
        self.colours = colours
        self.shown = LevelFeatures(levels, embedding)
        seen = channels * (1 + embedding)
        self.first_rows = RowsAbove(seen, width, kernel, first=True)
        self.first_left = MaskedConv2d(seen, width, kernel, "A", colours=colours, own_row=True)
        self.layers = nn.ModuleList(GatedLayer(width, num_classes, dilation, colours, dropout) for dilation in dilations)
        out = levels * channels if head == "logits" else mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)
        self.last = MaskedConv2d(width, out, 1, "B", colours=colours)

    @property
    def steps_per_pixel(self) -> int:
        """Colours that are drawn one after the other."""
        return self.colours

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Predicted:
        x = self.shown(images)
        rows, left = self.first_rows(x), self.first_left(x)
        for layer in self.layers:
            rows, left = layer(rows, left, labels)
        return self._shaped(self.last(F.elu(left)).float())

    def start(self, images: Tensor, labels: Tensor | None) -> dict[str, Any]:
        """What `pixel` needs to go on from: caches of every layer that looks around."""
        n, _, height, width = images.shape
        layers: Any = self.layers
        return {
            "row": -1,
            "rows": [self.first_rows.cache(n, height, width), *(layer.rows.cache(n, height, width) for layer in layers)],
            "memories": {layer: layer.memory(n, height, width) for layer in self.modules() if isinstance(layer, MaskedConv2d)},
            "conditions": [layer.conditions(labels) for layer in layers],
            "given": [],  # what each layer's stack for rows gives to the one for the row itself
        }

    def pixel(self, state: dict[str, Any], images: Tensor, row: int, column: int) -> Tensor:
        """The logits (N, levels, C), or parameters (N, M), of one pixel; positions come in raster order."""
        if state["row"] != row:
            self._next_row(state, images, row)
        memories = state["memories"]
        self.note(state, images, row, column)
        x = memories[self.first_left].at(row, column)
        layer: Any
        for layer, told, condition in zip(self.layers, state["given"], state["conditions"], strict=True):
            x = layer.pixel(x, memories, row, column, told[:, :, 0, column], condition)
        x = memories[self.last].here(F.elu(x))
        return self._shaped(x[:, :, None, None])[..., 0, 0]

    def note(self, state: dict[str, Any], images: Tensor, row: int, column: int) -> None:
        """What the colours of a position are, for it and for those that come after it."""
        state["memories"][self.first_left].put(row, column, self.shown(images[:, :, row, column]))

    def _next_row(self, state: dict[str, Any], images: Tensor, row: int) -> None:
        """The stack for the rows above, for a whole row at once."""
        caches = state["rows"]
        for before in range(max(0, state["row"]), row):
            self.first_rows.put(caches[0], before, self.shown(images[:, :, before : before + 1]))
        x = self.first_rows.row(caches[0], row)
        state["given"] = []
        layer: Any
        for layer, cache, condition in zip(self.layers, caches[1:], state["conditions"], strict=True):
            layer.rows.put(cache, row, x)
            x, given = layer.row(x, cache, row, condition)
            state["given"].append(given)
        state["row"] = row

    def _shaped(self, x: Tensor) -> Tensor:
        if self.gives == "mixture":
            return x
        return x.view(len(x), self.channels, self.levels, *x.shape[2:]).transpose(1, 2)


class GatedLayer(nn.Module):
    """Both stacks; the one for the row itself is told by the other, and keeps its input beside what it adds (the paper's figure 2)."""

    def __init__(self, width: int, num_classes: int, dilation: int, colours: int, dropout: float) -> None:
        super().__init__()
        self.rows = RowsAbove(width, 2 * width, 3, first=False, dilation=dilation)
        self.left = MaskedConv2d(width, 2 * width, 3, "B", dilation=dilation, colours=colours, repeat=2, own_row=True)
        self.tell = nn.Conv2d(2 * width, 2 * width, 1)
        self.mix = MaskedConv2d(width, width, 1, "B", colours=colours)
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Embedding(num_classes, 4 * width) if num_classes else None
        if self.classes is not None:
            nn.init.zeros_(self.classes.weight)

    def conditions(self, labels: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Biases of a class for both stacks, (N, 2 width) each."""
        if self.classes is None:
            return None
        assert labels is not None
        first, second = self.classes(labels).chunk(2, 1)
        return first, second

    def forward(self, rows: Tensor, left: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        condition = self.conditions(labels)
        seen = self.rows(rows)
        x = self.left(left).add_(self.tell(seen))  # in place here and below, where no slope needs what was there
        if condition is not None:
            seen = seen + condition[0][:, :, None, None].to(seen.dtype)
            x = x + condition[1][:, :, None, None].to(x.dtype)
        return _gate(seen).add_(rows), self.mix(self.dropout(_gate(x))).add_(left)

    def row(self, x: Tensor, cache: Tensor, row: int, condition: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Of one row: what the stack passes on (n, width, 1, W), and what it tells the other one (n, 2 width, 1, W)."""
        seen = self.rows.row(cache, row)
        told = self.tell(seen)
        if condition is not None:
            seen = seen + condition[0][:, :, None, None]
        return x + _gate(seen), told

    def pixel(
        self, x: Tensor, memories: dict[nn.Module, Memory], row: int, column: int, told: Tensor, condition: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        left = memories[self.left]
        left.put(row, column, x)
        y = left.at(row, column).add_(told)
        if condition is not None:
            y = y + condition[1]
        return memories[self.mix].here(_gate(y)).add_(x)


def _gate(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)

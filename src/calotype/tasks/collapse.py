"""An alarm for the commonest way in which learning distances fails: every image becomes the same point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

SPREAD = 1e-3  # below it, embeddings are one point
NEAR = 0.05  # share by which the loss may differ from what one point costs


class CollapseAlarm:
    """Watches the spread of embeddings, E|e - E e|^2 / E|e|^2 (0: one point), together with the loss.

    The loss of one point is the margin for a hinge, ln 2 for a soft margin and for a balanced cross entropy; it is
    computed, so the alarm knows any loss. Told once two epochs in a row have a mean spread below 1e-3 and the loss near
    that value: a network that has just started may be near one point, and leave it.
    """

    def __init__(self) -> None:
        self.told: list[str] = []
        self._seen: list[Tensor] = []
        self._suspected = False

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint at the end of an epoch."""
        return {"told": list(self.told), "suspected": self._suspected}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.told, self._suspected = list(state["told"]), state["suspected"]

    def look(self, embeddings: Tensor, loss: Tensor, loss_of_one_point: Callable[[], Tensor]) -> Tensor:
        """The spread of a batch (B, D), which is also noted with the two losses; the second is computed where it is needed."""
        size = embeddings.square().sum(1).mean()
        spread = (embeddings - embeddings.mean(0)).square().sum(1).mean() / size.clamp(min=1e-12)
        with torch.no_grad():
            # A second look at every batch would double the mining, and disturb a loss that remembers.
            one_point = loss_of_one_point().float() if bool(spread < SPREAD) else torch.full_like(spread, torch.nan)
        self._seen.append(torch.stack([spread, loss.float(), one_point]).detach())
        return spread

    def end_of_epoch(self, epoch: int) -> str | None:
        """The alarm, where there is cause for it and it was not told before."""
        if not self._seen:
            return None
        spread, loss, one_point = torch.stack(self._seen).nanmean(0).tolist()
        self._seen.clear()
        before, self._suspected = self._suspected, spread < SPREAD and abs(loss - one_point) <= NEAR * abs(one_point) + 1e-6
        if self.told or not (before and self._suspected):
            return None
        told = (
            f"collapse in epoch {epoch + 1}: all embeddings are nearly one point (spread {spread:.1e}) and the loss {loss:.4f} "
            "is what one point costs; lower optimizer.lr, start with loss.mining=all or semi_hard, or enlarge the batch"
        )
        self.told.append(told)
        return told

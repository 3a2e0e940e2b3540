"""Alarms for what goes wrong between two networks that train against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from calotype.types import UserError

SURE = 0.02  # a discriminator's loss below it has won
STEEP = 100.0  # norm of a gradient
WATCHED = {"modes": 4.0, "coverage": 0.1}  # and how many of them there must have been, for a fall to tell anything
FALL = 0.5  # share of the best that is left
LONG = 2  # epochs in a row
PATIENCE = 10  # epochs, or half of the training if that is longer, in which there must have been so many


class AdversarialAlarm:
    """Told once each: the discriminator's loss near 0 for two epochs, a gradient's norm above 100 for two, modes or coverage halved
    or never reached.

    A loss that is no longer a number ends the run.
    """

    def __init__(self) -> None:
        self.told: list[str] = []
        self._losses: dict[str, list[float]] = {"d": [], "g": []}
        self._norms: list[float] = []
        self._in_a_row = {"sure": 0, "steep": 0}
        self._kinds: set[str] = set()
        self._best: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint at the end of an epoch."""
        return {
            "told": list(self.told),
            "in_a_row": dict(self._in_a_row),
            "kinds": sorted(self._kinds),
            "best": dict(self._best),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.told = list(state["told"])
        self._in_a_row = dict(state["in_a_row"])
        self._kinds = set(state["kinds"])
        self._best = dict(state["best"])

    def look(self, which: str, loss: float, gradient_norm: float) -> None:
        """At the loss of the discriminator (d) or the generator (g), and the norm of its gradient."""
        if not math.isfinite(loss) or not math.isfinite(gradient_norm):
            raise UserError(
                f"the {'discriminator' if which == 'd' else 'generator'}'s loss is {loss} and its gradient's norm {gradient_norm}: lower "
                "optimizer.lr, bound the discriminator (model.spectral_norm, task.r1), or compute in single precision (hardware=cpu)"
            )
        self._losses[which].append(loss)
        self._norms.append(gradient_norm)

    def end_of_epoch(self, epoch: int) -> str | None:
        """What there is cause to tell, where it was not told before."""
        losses, norms = self._losses["d"], self._norms
        if not losses:
            return None
        sure, steep = sum(losses) / len(losses), sorted(norms)[len(norms) // 2]
        losses.clear()
        norms.clear()
        self._losses["g"].clear()
        self._in_a_row["sure"] = self._in_a_row["sure"] + 1 if 0 <= sure < SURE else 0
        self._in_a_row["steep"] = self._in_a_row["steep"] + 1 if steep > STEEP else 0
        if self._in_a_row["sure"] == LONG:
            return self._tell(
                "sure",
                f"epoch {epoch + 1}: the discriminator's loss is {sure:.4f}, it has won and teaches nothing; bound it (task.r1=1, "
                "model.spectral_norm=discriminator), disturb it (task.input_noise, loss.real_label=[0.7,1]) or slow it (d_lr_factor=0.5)",
            )
        if self._in_a_row["steep"] == LONG:
            return self._tell("steep", f"epoch {epoch + 1}: gradients have a norm of {steep:.0f}; lower optimizer.lr")
        return None

    def look_at_figures(self, figures: Mapping[str, float], epoch: int, epochs: int | None) -> str | None:
        """At validation's, after `epoch` of `epochs`: what is drawn was once more varied, or never was varied."""
        for name, least in WATCHED.items():
            if name not in figures:
                continue
            best = self._best[name] = max(self._best.get(name, 0.0), figures[name])
            if best >= least and figures[name] < FALL * best:
                return self._tell(
                    name,
                    f"epoch {epoch + 1}: val/{name} fell to {figures[name]:.3g} from {best:.3g}, the generator draws less and less; "
                    "pack items (task.pack=2), lower optimizer.lr, or stop earlier",
                )
            if best < least and epoch + 1 >= max(PATIENCE, (epochs or 0) / 2):
                return self._tell(
                    f"no {name}",
                    f"epoch {epoch + 1}: val/{name} was never above {best:.3g}, the two networks do not settle; "
                    "disturb the discriminator (task.input_noise) or bound it (task.r1), or try another seed",
                )
        return None

    def _tell(self, kind: str, text: str) -> str | None:
        if kind in self._kinds:
            return None
        self._kinds.add(kind)
        self.told.append(text)
        return text

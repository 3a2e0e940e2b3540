"""Two generative adversarial networks against each other: the generative adversarial metric."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from calotype.applied import load_for
from calotype.building import build_data
from calotype.types import OptionError, UserError

TIE = 0.1  # how far the test ratio may be from 1 for the sample ratio to count


class Outcome(NamedTuple):
    """Of two models, 1 and 2.

    `test_ratio` is accuracy of D1 over that of D2 on real test images: near 1 where both discriminators have learned alike.
    `sample_ratio` is accuracy of D1 on what G2 draws over that of D2 on what G1 draws: above 1, D1 sees through G2 more often than D2
    through G1, so 1 wins.
    """

    sample_ratio: float
    test_ratio: float
    winner: int | None  # 1, 2, or None for a tie


def battle(first: str | Path, second: str | Path, *, n: int = 2000, seed: int = 0) -> Iterator[str]:
    """Lines that say how it went (Im et al., "Generating images with recurrent adversarial networks", 2016, section 5).

    Raises:
        UserError: the runs are of other tasks or data, or a discriminator gives no probability.
    """
    if n < 1:
        raise OptionError(f"--n {n}: at least 1")
    (cfg, a), (_, b) = (load_for(run, "battle", ("gan", "cgan"), points=True) for run in (first, second))
    for run, module in ((first, a), (second, b)):
        if module.loss.__class__.__name__ not in ("NonSaturating", "Minimax"):
            raise UserError(
                f"{run}: trained with {module.loss.__class__.__name__}, whose discriminator gives no probability; the battle takes "
                "loss=gan/non_saturating or gan/minimax"
            )
    if a.spec.image_shape != b.spec.image_shape or a.spec.class_names != b.spec.class_names:
        raise UserError(f"{first} and {second}: trained on unlike data, {a.spec.image_shape} and {b.spec.image_shape}")
    data = build_data(cfg)
    data.setup("test")
    real, labels = data.images("test", n, seed=seed)
    count = len(real) // (a.pack * b.pack) * (a.pack * b.pack)
    real, labels = real[:count], labels[:count]
    drawn = [module.draw(count, seed=seed, labels=labels if module.conditional else None) for module in (a, b)]
    accuracy = {
        "D1 on real test images": 1 - _rejected(a, real, labels),
        "D2 on real test images": 1 - _rejected(b, real, labels),
        "D1 on what G2 draws": _rejected(a, drawn[1], labels),
        "D2 on what G1 draws": _rejected(b, drawn[0], labels),
    }
    found = outcome(*accuracy.values())
    yield f"1: {first}"
    yield f"2: {second}"
    for name, value in accuracy.items():
        yield f"accuracy of {name}: {value:.4f}"
    yield f"test ratio {found.test_ratio:.4f} (D1 over D2 on real test images; the battle counts within {TIE:g} of 1)"
    yield f"sample ratio {found.sample_ratio:.4f} (D1 on G2 over D2 on G1; above 1: 1 wins)"
    yield f"winner: {found.winner}" if found.winner else "a tie"


def outcome(first_on_real: float, second_on_real: float, first_on_drawn: float, second_on_drawn: float) -> Outcome:
    """By the accuracies of D1 and D2 on real test images, of D1 on what G2 draws and of D2 on what G1 draws, each 0 to 1."""
    test, sample = (_ratio(a, b) for a, b in ((first_on_real, second_on_real), (first_on_drawn, second_on_drawn)))
    decided = abs(test - 1) <= TIE and sample != 1
    return Outcome(sample, test, (1 if sample > 1 else 2) if decided else None)


def _ratio(a: float, b: float) -> float:
    return a / b if b else (1.0 if a == 0 else float("inf"))


@torch.no_grad()
def _rejected(module: Any, items: Tensor, labels: Tensor) -> float:
    """The share of items that the discriminator holds to be generated."""
    size = 512 // module.pack * module.pack
    logits = [
        module.model.discriminator(module.packed(part), wanted if module.conditional else None)
        for part, wanted in zip(items.split(size), labels.split(size), strict=True)
    ]
    return (torch.cat(logits) <= 0).float().mean().item()

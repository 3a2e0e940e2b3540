"""Texture synthesis: what a periodic sample must give, filling, draws by seed, one pixel against a loop."""

from __future__ import annotations

import pytest
import torch

from calotype.metrics.efros_leung import efros_leung
from calotype.types import UserError

SAMPLE = torch.rand(3, 16, 18, generator=torch.Generator().manual_seed(0))


def stripes(height: int, width: int) -> torch.Tensor:
    return (torch.arange(width) // 2 % 2).float().expand(1, height, width).clone()


def hidden(height: int, width: int, channels: int = 1) -> torch.Tensor:
    return torch.full((channels, height, width), torch.nan)


def test_stripes_grow_into_stripes() -> None:
    grown = efros_leung(stripes(14, 16), hidden(16, 20), window=7)
    assert grown.shape == (1, 16, 20)
    assert (grown == grown[:, :1]).all()  # down a column nothing changes
    row = grown[0, 0]
    runs = torch.diff(row).abs().nonzero()[:, 0].diff()
    assert (runs == 2).all()


def test_a_hole_in_a_pattern_is_filled_as_it_was() -> None:
    whole = stripes(14, 16)
    given = whole.clone()
    given[:, 5:9, 4:10] = torch.nan
    assert torch.equal(efros_leung(whole, given, window=7, seed=3), whole)


def test_what_is_given_stays_and_the_rest_is_of_the_sample() -> None:
    given = hidden(8, 8, 3)
    given[:, 2:5, 2:5] = SAMPLE[:, :3, :3]
    grown = efros_leung(SAMPLE, given, window=5)
    assert torch.equal(grown[:, 2:5, 2:5], given[:, 2:5, 2:5])
    colours = {tuple(c) for c in SAMPLE.flatten(1).T.tolist()}
    assert all(tuple(c) in colours for c in grown.flatten(1).T.tolist())


def test_the_seed_decides() -> None:
    first, again, other = (efros_leung(SAMPLE, hidden(8, 8, 3), window=5, tolerance=0.5, seed=s) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_one_pixel_against_a_loop() -> None:
    """With no tolerance the one place is taken whose known neighbours are nearest under the bell."""
    window, reach = 5, 2
    given = torch.rand(3, 7, 7, generator=torch.Generator().manual_seed(5))
    given[:, 3, 3] = torch.nan
    found = efros_leung(SAMPLE, given, window=window, tolerance=0.0)[:, 3, 3]
    best, want = float("inf"), None
    for top in range(16 - window + 1):
        for left in range(18 - window + 1):
            total = 0.0
            for i in range(window):
                for j in range(window):
                    if (i, j) != (reach, reach):
                        bell = torch.exp(torch.tensor(-((i - reach) ** 2 + (j - reach) ** 2) / (2 * (window / 6.4) ** 2))).item()
                        total += bell * (SAMPLE[:, top + i, left + j] - given[:, 1 + i, 1 + j]).square().sum().item()
            if total < best:
                best, want = total, SAMPLE[:, top + reach, left + reach]
    assert want is not None
    assert torch.equal(found, want)


def test_nothing_hidden_is_given_back() -> None:
    assert torch.equal(efros_leung(SAMPLE, SAMPLE), SAMPLE)


@pytest.mark.parametrize("options", [{"window": 4}, {"window": 1}, {"tolerance": -0.1}, {"window": 17}])
def test_options_beyond_reason(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match="window"):
        efros_leung(SAMPLE, hidden(8, 8, 3), **options)  # type: ignore[arg-type]

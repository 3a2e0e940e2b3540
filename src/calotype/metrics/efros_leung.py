"""Texture by the best matching neighbourhoods: what learned models of texture are measured by."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from calotype.types import UserError


def efros_leung(
    sample: Tensor,
    given: Tensor,
    *,
    window: int = 11,
    tolerance: float = 0.1,
    seed: int = 0,
    tell: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Fill what is hidden of an image pixel by pixel, from the places of a sample that look alike (Efros and Leung, 1999).

    Pixels with most known neighbours come first. A place of the sample is a candidate where its distance, the squared difference over the
    known neighbours under a Gaussian of window / 6.4 pixels, is at most 1 + tolerance times the least; one of them is drawn. The paper's
    further bound on the distance, which only delays a pixel, is left out.

    Args:
        sample: (C, h, w) in [0, 1], of which whole windows are looked at.
        given: (C, H, W) in [0, 1], NaN where hidden; where nothing is given, three by three pixels of the sample are laid in the middle.
        window: side of a neighbourhood in pixels, odd.
        tolerance: 0 and more.
        seed: of the draws.
        tell: called with (pixels done, pixels) now and then.

    Returns: (C, H, W).

    Raises:
        UserError: the window is even or larger than the sample, or the tolerance is negative.
    """
    channels, height, width = sample.shape
    if window < 3 or window % 2 == 0 or tolerance < 0:
        raise UserError(f"window={window}: odd, 3 and more; tolerance={tolerance}: 0 and more")
    if window > min(height, width):
        raise UserError(f"window={window}: larger than the sample, {width}x{height} pixels")
    generator = torch.Generator().manual_seed(seed)
    known = ~given.isnan().any(0)
    if known.all():
        return given.clone()
    image = torch.where(known, given, 0).float()
    if not known.any():
        _lay_seed(image, known, sample, generator)
    reach = window // 2
    places = F.unfold(sample[None].float(), window)[0].T.contiguous()  # (P, C window window)
    middles = places.view(len(places), channels, window, window)[:, :, reach, reach]
    squares = places.square()
    line = torch.arange(window) - reach
    bell = torch.exp(-(line[:, None] ** 2 + line[None] ** 2) / (2 * (window / 6.4) ** 2))
    padded = F.pad(image, (reach, reach, reach, reach))
    seen = F.pad(known.float(), (reach, reach, reach, reach))
    hidden = int((~known).sum())
    done = 0
    while done < hidden:
        for row, column in _frontier(seen, reach, generator):
            here = (slice(row, row + window), slice(column, column + window))
            weight = (bell * seen[here]).expand(channels, -1, -1).flatten()
            template = padded[:, here[0], here[1]].flatten()
            distance = squares @ weight - 2 * places @ (weight * template) + (weight * template.square()).sum()
            least = distance.min().clamp(min=0)
            # A hair above, so that rounding does not part equal places.
            candidates = (distance <= least * (1 + tolerance) + 1e-6 * weight.sum()).nonzero()[:, 0]
            chosen = candidates[int(torch.randint(len(candidates), (), generator=generator))]
            padded[:, row + reach, column + reach] = middles[chosen]
            seen[row + reach, column + reach] = 1
            done += 1
        if tell is not None:
            tell(done, hidden)
    return padded[:, reach : reach + given.shape[1], reach : reach + given.shape[2]].clone()


def _lay_seed(image: Tensor, known: Tensor, sample: Tensor, generator: torch.Generator) -> None:
    """A piece of the sample in the middle, to grow from."""
    side = min(3, *image.shape[1:], *sample.shape[1:])
    top, left = (int(torch.randint(n - side + 1, (), generator=generator)) for n in sample.shape[1:])
    middle = tuple(slice((n - side) // 2, (n - side) // 2 + side) for n in image.shape[1:])
    image[:, middle[0], middle[1]] = sample[:, top : top + side, left : left + side].float()
    known[middle[0], middle[1]] = True


def _frontier(seen: Tensor, reach: int, generator: torch.Generator) -> list[list[int]]:
    """Hidden pixels beside known ones, those with most known neighbours first, ties in a drawn order."""
    known = seen[reach : seen.shape[0] - reach, reach : seen.shape[1] - reach]
    around = F.conv2d(F.pad(known, (1, 1, 1, 1))[None, None], torch.ones(1, 1, 3, 3))[0, 0]
    beside = ((known == 0) & (around > 0)).nonzero()
    neighbours = F.avg_pool2d(seen[None, None], 2 * reach + 1, 1)[0, 0][beside[:, 0], beside[:, 1]]
    order = torch.argsort(neighbours + 1e-6 * torch.rand(len(beside), generator=generator), descending=True)
    found: list[list[int]] = beside[order].tolist()
    return found

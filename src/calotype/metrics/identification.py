"""Who is it: trials of probes against galleries, and what share comes out right. A gallery holds one image an identity."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SCORES = 2**24  # random numbers of one-shot trials that are held at once


class Searches(NamedTuple):
    """Probes against a gallery: which images meet, and which of them are of one identity."""

    probes: Tensor  # (P,) image numbers
    gallery: Tensor  # (G,) image numbers
    mated: Tensor  # (P,) position in the gallery of the probe's identity, -1 where it is not enrolled


def one_shot_trials(labels: Tensor, *, ways: int, num_trials: int, seed: int, groups: Tensor | None = None) -> Tensor:
    """Image numbers (T, 1 + ways): a probe, another image of its identity, one image of each of `ways - 1` others.

    Every image is a probe equally often, but for a remainder; one without a second image of its identity is none.
    With `groups` (of each identity, by label) the others come from the probe's group, and there may be fewer ways
    (unused places repeat the probe's own number, and count as nothing): see `one_shot_correct`.

    Source: Lake et al., 2015 (within-alphabet one-shot classification), with drawn probes and supports.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = labels.cpu()
    identities, numbered, counts = labels.unique(return_inverse=True, return_counts=True)
    order = numbered.argsort(stable=True)
    start = counts.cumsum(0) - counts
    probes = (counts[numbered] > 1).nonzero()[:, 0]
    if len(probes) == 0 or len(identities) < 2:
        return torch.zeros(0, 1 + ways, dtype=torch.long)
    rounds = -(-num_trials // len(probes))
    probes = torch.cat([probes[torch.randperm(len(probes), generator=generator)] for _ in range(rounds)])[:num_trials]
    true = numbered[probes]

    def draw(identity: Tensor) -> Tensor:
        return (torch.rand(identity.shape, generator=generator) * counts[identity]).long()

    position = torch.empty_like(order).scatter_(0, order, torch.arange(len(order))) - start[numbered]  # within the identity
    step = 1 + (torch.rand(len(probes), generator=generator) * (counts[true] - 1)).long()
    partner = order[start[true] + (position[probes] + step) % counts[true]]
    kinds = None if groups is None else groups[identities]
    drawn = []
    # A part of the trials at once: a score for each trial and identity would take gigabytes of many identities.
    for part in true.split(max(1, SCORES // len(identities))):
        scores = torch.rand(len(part), len(identities), generator=generator)
        scores[torch.arange(len(part)), part] = -1
        if kinds is not None:
            scores[kinds[None] != kinds[part][:, None]] = -1
        drawn.append(scores.topk(min(ways, len(identities)) - 1, dim=1))
    best, others = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    images = order[start[others] + draw(others)]
    images = torch.where(best >= 0, images, probes[:, None])
    return torch.cat([probes[:, None], partner[:, None], images], 1)


def one_shot_correct(trials: Tensor, distances: Tensor) -> Tensor:
    """1 where the right candidate is nearest, 1 / ties where others are as near, else 0.

    Shapes: trials (T, 1 + ways), distances of the probe to each candidate (T, ways), the right one first -> (T,).
    """
    distances = distances.masked_fill(trials[:, 1:] == trials[:, :1], torch.inf)
    true = distances[:, :1]
    ties = (distances == true).sum(1)
    return torch.where((distances < true).any(1), torch.zeros(len(trials), device=ties.device), 1 / ties)


def searches(labels: Tensor, *, share_enrolled: float, seed: int) -> Searches:
    """Enrol one image of a share of the identities; every other image is a probe.

    A probe of an identity that is not enrolled is non-mated. Closed-set searches have share_enrolled 1.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = labels.cpu()
    identities, numbered = labels.unique(return_inverse=True)
    enrolled = torch.randperm(len(identities), generator=generator)[: max(1, round(share_enrolled * len(identities)))].sort().values
    shuffled = torch.randperm(len(labels), generator=generator)
    first = torch.full((len(identities),), len(labels)).scatter_reduce(0, numbered[shuffled], torch.arange(len(labels)), "amin")
    gallery = shuffled[first[enrolled]]
    place = torch.full((len(identities),), -1)
    place[enrolled] = torch.arange(len(enrolled))
    is_probe = torch.ones(len(labels), dtype=torch.bool)
    is_probe[gallery] = False
    probes = is_probe.nonzero()[:, 0]
    return Searches(probes, gallery, place[numbered[probes]])


def ranks(distances: Tensor, mated: Tensor) -> Tensor:
    """The rank of each mated probe's identity, 1 the nearest; the mean of the ranks it ties for.

    Shapes: distances (P, G), mated (P,) -> (mated probes,) float.
    """
    rows = (mated >= 0).nonzero()[:, 0]
    near = distances[rows]
    true = near.gather(1, mated[rows][:, None])
    return 1 + (near < true).sum(1) + ((near == true).sum(1) - 1) / 2


def cumulative_match(found: Tensor, most: int) -> Tensor:
    """CMC: the share of ranks (P,) that are at most k, for k = 1..most."""
    return torch.stack([(found <= k).double().mean() for k in range(1, most + 1)])


def detection_and_identification(distances: Tensor, mated: Tensor, fpir: float) -> tuple[float, float] | None:
    """Open set: (DIR, threshold), the share of mated probes that are nearest to their own identity and within the threshold.

    The threshold is the largest at which the share of non-mated probes that come near anybody, FPIR, is at most the
    target; FNIR = 1 - DIR. FPIR grows with the gallery: a figure holds for its size (Grother & Ngan; ISO/IEC 19795-1).
    None where there are fewer than 1 / fpir non-mated probes, or no mated ones.

    Shapes: distances (P, G), mated (P,), -1 for non-mated probes.
    """
    return open_set(*distances.min(1), mated, fpir)


def open_set(nearest: Tensor, who: Tensor, mated: Tensor, fpir: float) -> tuple[float, float] | None:
    """As `detection_and_identification`, from the distance (P,) of the nearest template and its number (P,)."""
    strangers = nearest[mated < 0].sort().values
    known = mated >= 0
    if len(strangers) * fpir < 1 - 1e-9 or not bool(known.any()):
        return None
    allowed = int(len(strangers) * fpir + 1e-9)
    # The (allowed + 1)-th stranger must stay outside.
    limit = strangers[allowed] if allowed < len(strangers) else torch.tensor(torch.inf)
    right = (who == mated) & (nearest < limit) & known
    return (right.sum() / known.sum()).item(), limit.item()

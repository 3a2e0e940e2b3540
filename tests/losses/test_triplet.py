"""Against a loop over triplets and, where it is installed, pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from calotype.losses.triplet import Triplet
from calotype.types import UserError


def batch(seed: int, size: int = 24, dim: int = 8, people: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = F.normalize(torch.randn(size, dim, generator=generator, dtype=torch.float32))
    return embeddings.requires_grad_(), torch.randint(people, (size,), generator=generator)


def loop(embeddings: Tensor, labels: Tensor, margin: float | str, mining: str) -> Tensor:
    """One triplet after the other."""
    terms, every = [], []
    n = len(labels)
    for a in range(n):
        positives = [p for p in range(n) if p != a and labels[p] == labels[a]]
        negatives = [k for k in range(n) if labels[k] != labels[a]]
        d = [(embeddings[a] - embeddings[i]).square().sum() for i in range(n)]
        if not positives or not negatives:
            continue
        pairs = [(p, k) for p in positives for k in negatives]
        if mining == "batch_hard":
            pairs = [(max(positives, key=lambda i: d[i].item()), min(negatives, key=lambda i: d[i].item()))]
        if mining == "semi_hard":
            pairs = [(p, k) for p, k in pairs if d[p] < d[k] < d[p] + margin]
        for p, k in pairs:
            value = F.softplus(d[p] - d[k]) if margin == "soft" else (d[p] - d[k] + margin).relu()
            every.append(value)
            if mining == "batch_hard" or margin == "soft" or value > 0:
                terms.append(value)
    return torch.stack(terms).mean() if terms else embeddings.sum() * 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("mining", "margin"),
    [("all", 0.2), ("all", 1.5), ("all", "soft"), ("semi_hard", 0.2), ("semi_hard", 1.0), ("batch_hard", 0.3), ("batch_hard", "soft")],
)
def test_value_and_gradient_of_the_loop(mining: str, margin: float | str, seed: int) -> None:
    embeddings, labels = batch(seed)
    value = Triplet(margin=margin, mining=mining)(embeddings, labels)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(value, embeddings)
    wanted = loop(embeddings, labels, margin, mining)
    (wanted_gradient,) = torch.autograd.grad(wanted, embeddings)
    assert value.item() == pytest.approx(wanted.item(), rel=1e-4, abs=1e-6)
    assert torch.allclose(gradient, wanted_gradient, atol=2e-6)


@pytest.mark.parametrize(("mining", "kind"), [("semi_hard", "semihard"), ("all", "all"), ("batch_hard", None)])
def test_another_library_agrees(mining: str, kind: str | None) -> None:
    pml = pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning import distances, losses, miners, reducers

    assert pml
    embeddings, labels = batch(7, size=60, dim=16, people=12)
    distance = distances.LpDistance(power=2, normalize_embeddings=False)
    reducer = reducers.AvgNonZeroReducer() if kind else reducers.MeanReducer()
    oracle = losses.TripletMarginLoss(margin=0.3, distance=distance, reducer=reducer)
    miner = (
        miners.TripletMarginMiner(margin=0.3, type_of_triplets=kind, distance=distance)
        if kind
        else miners.BatchHardMiner(distance=distance)
    )
    wanted = oracle(embeddings, labels, miner(embeddings, labels))
    value = Triplet(margin=0.3, mining=mining)(embeddings, labels)  # type: ignore[arg-type]
    assert value.item() == pytest.approx(wanted.item(), rel=1e-4)
    ours, theirs = (torch.autograd.grad(v, embeddings)[0] for v in (value, wanted))
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_random_negatives_are_negatives_all_of_them_in_time() -> None:
    from calotype.losses.triplet import random_negatives, squared_distances

    embeddings, labels = batch(0, size=12, people=3)
    same = labels[:, None] == labels[None]
    positive = same.clone().fill_diagonal_(False)
    torch.manual_seed(0)
    seen = set()
    for _ in range(300):
        anchor, near, far = random_negatives(squared_distances(embeddings), same, positive)
        assert (labels[anchor] == labels[near]).all()
        assert (anchor != near).all()
        assert (labels[anchor] != labels[far]).all()
        seen |= set(zip(anchor.tolist(), far.tolist(), strict=True))
    assert len(seen) == int((~same)[positive.any(1)].sum())


@pytest.mark.parametrize("mining", ["random", "all", "semi_hard", "batch_hard"])
@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [0], [0, 0, 1]])
def test_degenerate_batches_have_a_value_and_a_gradient(mining: str, labels: list[int]) -> None:
    embeddings = torch.ones(len(labels), 4, requires_grad=True)
    loss = Triplet(margin=0.2, mining=mining)  # type: ignore[arg-type]
    value = loss(embeddings, torch.tensor(labels))
    value.backward()
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()
    whole = labels == [0, 0, 1] and mining != "semi_hard"  # nothing is farther than the positive where all is one point
    assert value.item() == pytest.approx(0.2 if whole else 0.0)
    assert loss.active_share is not None
    assert loss.active_share.item() == float(whole)


def test_collapse_costs_the_margin_or_ln_2() -> None:
    embeddings, labels = torch.ones(8, 3), torch.arange(8) // 2
    assert Triplet(margin=0.7, mining="all")(embeddings, labels).item() == pytest.approx(0.7)
    for mining in ("batch_hard", "all", "random"):
        value = Triplet(margin="soft", mining=mining)(embeddings, labels)  # type: ignore[arg-type]
        assert value.item() == pytest.approx(math.log(2))


def test_active_share_by_hand() -> None:
    """On a line: anchor-positive distances 1, negatives at 4 and 9 and so on; 2 of the 8 triplets are active."""
    embeddings, labels = torch.tensor([[0.0], [1.0], [2.0], [5.0]]), torch.tensor([0, 0, 1, 1])
    loss = Triplet(margin=0.5, mining="all")
    # a=0,p=1 (1): n=2 (4), n=3 (25). a=1,p=0 (1): n=2 (1) active, n=3 (16). a=2,p=3 (9): n=0 (4), n=1 (1) active. a=3: 25, 16 not
    assert loss(embeddings, labels).item() == pytest.approx((0.5 + 5.5 + 8.5) / 3)
    assert loss.active_share is not None
    assert loss.active_share.item() == pytest.approx(3 / 8)


def test_wrong_options_are_told() -> None:
    with pytest.raises(UserError, match=r"loss.margin=0: above 0"):
        Triplet(margin=0)
    with pytest.raises(UserError, match="semi_hard needs a margin"):
        Triplet(margin="soft", mining="semi_hard")

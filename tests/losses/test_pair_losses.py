"""Contrastive loss, ArcFace and binary cross entropy against hand calculations and another library."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from calotype.losses.arcface import ArcFace
from calotype.losses.binary_cross_entropy import BinaryCrossEntropy
from calotype.losses.contrastive import Contrastive, PairContrastive
from calotype.types import UserError


def test_contrastive_by_hand() -> None:
    # d^2 0.25 and 1 of one identity; d 0.5 and 2 of two, margin 1: (0.625 + (0.25 + 0) / 2) / 2
    value = PairContrastive(margin=1)(torch.tensor([0.25, 1, 0.25, 4]), torch.tensor([True, True, False, False]))
    assert value.item() == pytest.approx((0.625 + 0.125) / 2)


def test_contrastive_is_a_loop_over_pairs_of_the_batch() -> None:
    torch.manual_seed(0)
    embeddings, labels = F.normalize(torch.randn(12, 5)), torch.arange(12) % 4
    near, far = [], []
    for i in range(12):
        for j in range(i):
            d = (embeddings[i] - embeddings[j]).norm()
            near.append(d**2) if labels[i] == labels[j] else far.append((0.8 - d).relu() ** 2)
    wanted = (torch.stack(near).mean() + torch.stack(far).mean()) / 2
    assert Contrastive(margin=0.8)(embeddings, labels).item() == pytest.approx(wanted.item(), rel=1e-4)


@pytest.mark.parametrize("labels", [[0], [0, 0], [0, 1]])
def test_contrastive_with_one_kind_of_pair_and_with_one_point(labels: list[int]) -> None:
    embeddings = torch.ones(len(labels), 3, requires_grad=True)
    value = Contrastive(margin=1)(embeddings, torch.tensor(labels))
    value.backward()
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()
    assert value.item() == pytest.approx(1.0 if labels == [0, 1] else 0.0, abs=1e-5)


def test_arcface_by_hand() -> None:
    loss = ArcFace(2, 2, margin=0.5, scale=2.0)
    loss.centres.data = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    angle = 0.4  # from the first centre, whatever the length
    value = loss(5 * torch.tensor([[math.cos(angle), math.sin(angle)]]), torch.tensor([0]))
    true, other = 2 * math.cos(0.9), 2 * math.cos(math.pi / 2 - 0.4)
    assert value.item() == pytest.approx(math.log(math.exp(true) + math.exp(other)) - true, rel=1e-5)


def test_arcface_without_margin_is_cross_entropy_and_the_margin_costs_more_everywhere() -> None:
    torch.manual_seed(0)
    plain, wide = ArcFace(5, 8, margin=0.0, scale=10), ArcFace(5, 8, margin=0.5, scale=10)
    wide.load_state_dict(plain.state_dict())
    x, y = torch.randn(20, 8), torch.arange(20) % 5
    assert plain(x, y).item() == pytest.approx(F.cross_entropy(10 * F.normalize(x) @ F.normalize(plain.centres).T, y).item(), rel=1e-5)
    opposite = -plain.centres.detach()[y]  # theta = pi, where cos(theta + margin) would cost less
    for points in (x, opposite, plain.centres.detach()[y]):
        points = points.clone().requires_grad_()
        value = wide(points, y)
        assert value > plain(points, y)
        (gradient,) = torch.autograd.grad(value, points)
        assert torch.isfinite(gradient).all()


def test_another_library_agrees_on_arcface() -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    torch.manual_seed(0)
    x, y = F.normalize(torch.randn(20, 8)), torch.arange(20) % 5
    oracle = losses.ArcFaceLoss(5, 8, margin=math.degrees(0.3), scale=24)
    ours = ArcFace(5, 8, margin=0.3, scale=24)
    ours.centres.data = oracle.W.data.T.clone()
    assert ours(x, y).item() == pytest.approx(oracle(x, y).item(), rel=1e-4)


def test_binary_cross_entropy_by_hand() -> None:
    value = BinaryCrossEntropy()(torch.tensor([0.0, 2.0]), torch.tensor([True, False]))
    assert value.item() == pytest.approx((math.log(2) + math.log(1 + math.exp(2))) / 2, rel=1e-5)


def test_wrong_options_are_told() -> None:
    for make in (Contrastive, PairContrastive):
        with pytest.raises(UserError, match="above 0"):
            make(margin=0)
    with pytest.raises(UserError, match="radians"):
        ArcFace(2, 2, margin=3)

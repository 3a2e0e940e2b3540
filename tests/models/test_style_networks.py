"""The networks that style is read from: the layers that torchvision's VGG has, the weights of a file, and nothing computed in vain."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import vgg16, vgg19

from calotype.models.efficientnet_lite0 import EfficientNetLite0Features
from calotype.models.lite0_layers import EfficientNetLite0Layers, Hybrid
from calotype.models.transform_net import TransformNet
from calotype.models.vgg import VGG
from calotype.types import UserError
from helpers import real_data

IMAGES = torch.rand(1, 3, 40, 36, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision saves it, of a network that was never trained."""
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    torch.save({f"features.{k}": v for k, v in vgg16(weights=None).features.state_dict().items()}, path)
    return path


def test_layers_are_torchvisions(weights: Path) -> None:
    ours, theirs = VGG(weights=str(weights)), vgg16(weights=None).features
    theirs.load_state_dict({k.removeprefix("features."): v for k, v in torch.load(weights).items()})
    names = ["relu1_1", "relu1_2", "conv2_1", "relu2_1", "pool2", "relu3_3", "relu4_2", "relu5_3", "pool5"]
    found = ours(IMAGES, names)
    assert list(found) == names
    x = (IMAGES - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    numbers = dict(zip([1, 3, 5, 6, 9, 15, 20, 29, 30], names, strict=True))
    for i, layer in enumerate(theirs):
        x = (nn.ReLU() if isinstance(layer, nn.ReLU) else layer)(x)
        if i in numbers:
            torch.testing.assert_close(found[numbers[i]], x)


def test_nothing_behind_the_deepest_layer_is_computed() -> None:
    network = VGG(weights="random")
    seen: list[str] = []
    for name, layer in network.layers.items():
        layer.register_forward_hook(lambda *_, name=name: seen.append(name))
    network(IMAGES, ["relu2_1"])
    assert "conv2_1" in seen
    assert "conv2_2" not in seen
    assert network(IMAGES, []) == {}


def test_asking_for_more_layers_changes_none() -> None:
    for network in (VGG(weights="random"), EfficientNetLite0Layers(pretrained=False), Hybrid(pretrained=False)):
        names = list(network.layer_names)
        everything = network(IMAGES, names)
        assert list(everything) == names or set(everything) == set(names)
        for name in names[::5]:
            torch.testing.assert_close(network(IMAGES, [name])[name], everything[name])


def test_random_weights_are_of_the_seed_and_keep_the_scale() -> None:
    one, again, other = (VGG(weights="random", seed=seed)(IMAGES, ["relu4_1"])["relu4_1"] for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert 0.1 < one.square().mean().sqrt() < 10  # He's scale: neither dies nor explodes over ten layers


def test_lite0_layers_are_those_of_the_features() -> None:
    torch.manual_seed(0)
    network = EfficientNetLite0Layers(pretrained=False)
    network.train()
    assert not network.features.stem[1].training  # type: ignore[union-attr]
    found = network(IMAGES, ["stem", "expand3", "linear5", "expand5", "expand15"])
    assert found["expand3"].shape == (1, 144, 10, 9)
    torch.testing.assert_close(found["expand5"], found["linear5"].clamp(0, 6))
    plain: EfficientNetLite0Features = network.features
    inputs = []
    activation = plain.blocks[15].layers[2]  # type: ignore[index, union-attr]
    activation.register_forward_hook(lambda _, given, out: inputs.append(out.clone()))
    plain(IMAGES)
    torch.testing.assert_close(found["expand15"], inputs[0])


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("padding", ["zeros", "replicate"])
def test_options_change_what_they_say(pooling: str, padding: str) -> None:
    grey = torch.full((1, 3, 32, 32), 0.7)
    found = VGG(weights="random", pooling=pooling, padding=padding)(grey, ["pool2"])["pool2"]  # type: ignore[arg-type]
    frame = (found - found[..., 4:5, 4:5]).abs().max() > 1e-4
    assert bool(frame) == (padding == "zeros")  # a grey image stays one where nothing is added around it


def test_wrong_files_are_told(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(UserError, match=r"model.weights=.*nothing.pth: no such file"):
        VGG(weights=str(tmp_path / "nothing.pth"))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UserError, match=r"text.pth: not a file of weights that can be read"):
        VGG(weights=str(tmp_path / "text.pth"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match=r"list.pth: holds a list, not a state dict"):
        VGG(weights=str(tmp_path / "list.pth"))
    torch.save({f"features.{k}": v for k, v in vgg19(weights=None).features.state_dict().items()}, tmp_path / "vgg19.pth")
    with pytest.raises(UserError, match=r"vgg19.pth: not VGG16's: features.17.weight \(conv4_1\) is missing"):
        VGG(weights=str(tmp_path / "vgg19.pth"))
    with pytest.raises(UserError, match=r"vgg16.pth: not VGG19's: features.16.weight \(conv3_4\) is missing"):
        VGG(depth=19, weights=str(weights))


def test_no_download_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.error

    import torchvision.models._api as api

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(api, "load_state_dict_from_url", refuse)
    with pytest.raises(
        UserError, match=r"model=style/vgg16: the weights could not be downloaded .*model.weights=FILE, or choose model=style/hybrid"
    ):
        VGG()


def test_real_weights_see_an_image() -> None:
    network = VGG(weights=str(real_data("weights/vgg16_features_fp16.pth")))
    found = network(IMAGES, ["relu5_1"])["relu5_1"]
    assert found.dtype == torch.float32
    assert found.shape == (1, 512, 2, 2)


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (33, 50)])
def test_transform_net_takes_any_size(size: tuple[int, int]) -> None:
    network = TransformNet(width=4, blocks=1)
    painted = network(torch.rand(2, 1, *size))
    assert painted.shape == (2, 3, *size)
    assert 0 <= painted.min() <= painted.max() <= 1


def test_transform_net_has_the_papers_size() -> None:
    # Convolutions with biases, and an affine normalisation after each but the last.
    def unit(a: int, b: int, k: int) -> int:
        return a * b * k * k + b + 2 * b

    expected = (
        unit(3, 32, 9) + unit(32, 64, 3) + unit(64, 128, 3) + 10 * unit(128, 128, 3) + unit(128, 64, 3) + unit(64, 32, 3) + 32 * 3 * 81 + 3
    )
    assert sum(p.numel() for p in TransformNet().parameters()) == expected

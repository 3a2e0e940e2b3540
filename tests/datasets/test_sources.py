"""Every source: the embedded ones whole, the downloadable ones on files of their real format, made here."""

from __future__ import annotations

import gzip
import os
import pickle
import zlib
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from calotype.datasets import characters, faces
from calotype.datasets.gaussians_2d import gaussians_2d
from calotype.datasets.joblib_array import read_array
from calotype.datasets.scikit_images import photos, textures
from calotype.datasets.synthetic_faces import synthetic_faces
from calotype.types import UserError
from helpers import real_data


def test_digits() -> None:
    source = characters.digits()
    assert isinstance(source.items, Tensor)
    assert source.items.shape == (1797, 1, 8, 8)
    assert source.items.dtype == torch.uint8
    assert source.items.max() == 255
    assert source.labels is not None
    assert source.labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.parametrize(("source", "shape", "names"), [(photos, (3, 64, 64), 4), (textures, (1, 64, 64), 3)])
def test_patches(source, shape, names) -> None:  # type: ignore[no-untyped-def]
    made = source()
    assert made.items.shape[1:] == shape
    assert len(made.class_names) == names
    assert len(made.labels) == len(made)
    with pytest.raises(UserError, match="patch=10000"):
        source(patch=10000)


def test_patches_are_cut_from_the_picture() -> None:
    import skimage.data

    first = textures(patch=32, stride=32).items[17]  # second row, second column of 16
    assert torch.equal(first[0], torch.from_numpy(skimage.data.brick()[32:64, 32:64]))


def test_synthetic_faces_are_people() -> None:
    source = synthetic_faces(num_identities=6, images_per_identity=8)
    assert isinstance(source.items, Tensor)
    assert source.items.shape == (48, 3, 64, 64)
    assert torch.equal(source.items, synthetic_faces(num_identities=6, images_per_identity=8).items)
    more = synthetic_faces(num_identities=7, images_per_identity=8).items
    assert isinstance(more, Tensor)
    assert torch.equal(source.items, more[:48])
    x = source.items.float().view(6, 8, -1)
    within = (x - x.mean(1, keepdim=True)).square().mean()
    between = (x.mean(1) - x.mean((0, 1))).square().mean()
    assert between > within / 8  # more than the means of 8 alike pictures would differ by
    assert within > 10  # and no picture is the other's copy


def test_gaussians_stand_where_they_should() -> None:
    source = gaussians_2d(num_points=20000)
    assert isinstance(source.items, Tensor)
    assert source.labels is not None
    means = torch.stack([source.items[source.labels == k].mean(0) for k in range(25)])
    want = torch.cartesian_prod(*2 * [torch.tensor([-4.0, -2.0, 0.0, 2.0, 4.0])])
    assert torch.allclose(means, want, atol=0.02)
    ring = gaussians_2d(layout="ring", num_points=8000).items
    assert isinstance(ring, Tensor)
    assert torch.allclose(ring.norm(dim=1), torch.tensor(2.0), atol=0.3)


def test_mnist_files(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.RandomState(0)
    for part, n in (("train", 6), ("t10k", 4)):
        images, labels = rng.randint(0, 256, (n, 28, 28), dtype=np.uint8), np.arange(n, dtype=np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(np.array([0x803, n, 28, 28], ">i4").tobytes() + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(np.array([0x801, n], ">i4").tobytes() + labels.tobytes())
    source = characters.mnist(str(tmp_path), download=False)
    assert isinstance(source.items, Tensor)
    assert source.items.shape == (10, 1, 28, 28)
    assert torch.equal(source.items[6:, 0], torch.from_numpy(images))
    assert source.test is not None
    assert source.test.tolist() == [False] * 6 + [True] * 4


def test_olivetti_file(tmp_path: Path) -> None:
    x = np.random.RandomState(0).rand(400, 64 * 64).astype(np.float32)
    x = (x - x.min()) / (x.max() - x.min())  # scikit-learn spreads the whole set over [0, 1]
    joblib.dump(x, tmp_path / "olivetti_py3.pkz", compress=6)
    source = faces.olivetti(str(tmp_path), download=False)
    assert isinstance(source.items, Tensor)
    want = torch.from_numpy(x[5].reshape(64, 64).T)  # the file keeps columns, as MATLAB does
    assert torch.equal(source.items[5, 0], want.mul(255).round().to(torch.uint8))
    assert source.labels is not None
    assert source.labels.bincount().tolist() == [10] * 40


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_array_of_a_joblib_file(dtype: type, protocol: int, tmp_path: Path) -> None:
    x = (np.random.RandomState(0).rand(400, 4096) * 255).astype(dtype)
    joblib.dump(x, tmp_path / "x.pkz", compress=1, protocol=protocol)
    read = read_array(tmp_path / "x.pkz", (400, 4096))
    assert read.dtype == dtype
    assert np.array_equal(read, x)


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_olivetti_executes_nothing(tmp_path: Path) -> None:
    file, proof = tmp_path / "olivetti_py3.pkz", tmp_path / "executed"
    header = zlib.decompress(_dumped(tmp_path, np.zeros((400, 4096), np.uint8)))[: -400 * 4096 - 1]
    evil = pickle.dumps(Touch(proof), protocol=2)
    for content in (
        _dumped(tmp_path, Touch(proof)),
        _dumped(tmp_path, np.array([[Touch(proof)] * 4096], object)),
        evil,
        pickle.dumps(Touch(proof)) + bytes(400 * 4096),
        b"",
        zlib.compress(bytes(50_000_000)),
        _dumped(tmp_path, np.zeros((400, 4096), np.int8)),
        _dumped(tmp_path, np.asfortranarray(np.arange(400 * 4096, dtype=np.float32).reshape(400, 4096))),
        _dumped(tmp_path, np.zeros((4096, 400), ">f4")),
        _dumped(tmp_path, np.zeros((400, 4095), np.uint8)),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match="remove it and fetch it again"):
            faces.olivetti(str(tmp_path), download=False)
        assert not proof.exists()
    # An attack before a real description: the array is read, and nothing else is.
    file.write_bytes(zlib.compress(evil[:-1] + b"0" + header + bytes(400 * 4096) + b"."))
    assert faces.olivetti(str(tmp_path), download=False).items.shape == (400, 1, 64, 64)
    assert not proof.exists()
    file.write_bytes(_dumped(tmp_path, Touch(proof)))
    joblib.load(file)
    assert proof.exists()  # the attack works


def _dumped(folder: Path, value: object) -> bytes:
    joblib.dump(value, folder / "dumped", compress=("zlib", 6))
    return (folder / "dumped").read_bytes()


def test_omniglot_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # torchvision compares the archive's checksum, which only the real one has.
    monkeypatch.setattr("torchvision.datasets.omniglot.check_integrity", lambda *_: True)
    for part, alphabet in (("images_background", "Greek"), ("images_evaluation", "Tengwar")):
        for character in ("character01", "character02"):
            folder = tmp_path / "omniglot-py" / part / alphabet / character
            folder.mkdir(parents=True)
            Image.new("1", (105, 105), 1).save(folder / "0001_01.png")
    source = characters.omniglot(str(tmp_path), download=False)
    assert source.class_names == ("Greek/character01", "Greek/character02", "Tengwar/character01", "Tengwar/character02")


def test_missing_sets_say_what_to_do(tmp_path: Path) -> None:
    root = str(tmp_path)
    for load in (characters.mnist, characters.fashion_mnist, characters.omniglot, faces.olivetti):
        with pytest.raises(UserError, match=r"not in .*CALOTYPE_DATA|olivetti_py3.pkz"):
            load(root, download=False)
    for folder in (faces.orl, faces.lfw):
        with pytest.raises(UserError, match=r"no folder .* set CALOTYPE_DATA or dataset.root"):
            folder(root)


def test_damaged_idx_file(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte").write_bytes(gzip.compress(b"not idx"))
    with pytest.raises(UserError, match="MNIST/raw/train-images-idx3-ubyte: damaged"):
        characters.mnist(str(tmp_path), download=False)


def test_real_folders() -> None:
    root = str(real_data())
    orl = faces.orl(root)
    assert (len(orl), len(orl.class_names), orl.channels) == (400, 40, 1)
    lfw = faces.lfw(root, min_images=100)
    assert lfw.class_names == ("Colin_Powell", "Donald_Rumsfeld", "George_W_Bush", "Gerhard_Schroeder", "Tony_Blair")
    assert len(characters.omniglot(root, download=False).class_names) == 242
    mnist = characters.mnist(root, download=False)
    assert mnist.labels is not None
    assert mnist.labels[60000:].bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]

"""Arrays of one file as a source: layouts, depths, labels, and what is refused."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from calotype.datasets.arrays import arrays
from calotype.types import UserError
from helpers import FAST

RNG = np.random.RandomState(0)
GREY = RNG.randint(0, 256, (12, 6, 5), dtype=np.uint8)
COLOR = RNG.randint(0, 256, (12, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3
HAS_HDF5 = importlib.util.find_spec("h5py") is not None
FORMATS = ["npz", pytest.param("h5", marks=pytest.mark.skipif(not HAS_HDF5, reason="needs the extra hdf5"))]


def store(path: Path, **values: np.ndarray) -> str:
    if path.suffix == ".npz":
        np.savez_compressed(path, **values)
    else:
        import h5py

        with h5py.File(path, "w") as file:
            for name, value in values.items():
                file[name] = [str(x) for x in value] if value.dtype.kind == "U" else value
    return str(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_layouts_labels_and_the_official_test_set(suffix: str, tmp_path: Path) -> None:
    names = np.array(["b", "a", "c"])[LABELS]
    path = store(tmp_path / f"scans.{suffix}", images=GREY, x=COLOR, y=COLOR.transpose(0, 3, 1, 2), labels=LABELS[:, None], names=names)
    grey = arrays(path)
    assert grey.name == "scans"
    assert torch.equal(grey.items, torch.from_numpy(GREY)[:, None])
    assert grey.labels.tolist() == LABELS.tolist()
    assert grey.class_names == ("0", "1", "2")

    first, last = arrays(path, images="x"), arrays(path, images="y", layout="channels_first", labels=None)
    assert torch.equal(first.items, torch.from_numpy(COLOR).permute(0, 3, 1, 2))
    assert torch.equal(first.items, last.items)
    assert last.labels is None

    named = arrays(path, labels="names", test_images="images", test_labels="names")
    assert named.class_names == ("a", "b", "c")
    assert named.labels.tolist() == [{0: 1, 1: 0, 2: 2}[k] for k in LABELS.tolist()] * 2
    assert named.test.tolist() == [False] * 12 + [True] * 12
    assert arrays(path, class_names=["x", "y", "z"]).class_names == ("x", "y", "z")


def test_depths(tmp_path: Path) -> None:
    kinds = {
        "sixteen": GREY.astype(np.uint16) * 257,
        "floats": GREY / 255,
        "halves": (GREY / 255).astype(np.float16),
        "wide": GREY.astype(np.int64),
    }
    path = store(tmp_path / "a.npz", bools=GREY > 99, labels=LABELS, **kinds)
    for name in kinds:
        assert np.array_equal(arrays(path, images=name).items[:, 0].numpy(), GREY), name
    assert torch.equal(arrays(path, images="bools").items[:, 0] == 255, torch.from_numpy(GREY > 99))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("values", "options", "reason"),
    [
        ({"x": GREY}, {}, r"no array images; it holds x"),
        ({"images": GREY}, {"labels": "y"}, r"no array y; it holds images"),
        ({"images": GREY, "labels": LABELS[:5]}, {}, r"labels is \(5,\), and one label for each of 12"),
        ({"images": GREY, "labels": np.eye(3)[LABELS]}, {}, r"labels is \(12, 3\)"),
        ({"images": GREY, "labels": LABELS / 2}, {}, r"labels of float64"),
        ({"images": GREY, "labels": LABELS}, {"class_names": ["a", "b"]}, r"0 to 2, and there are 2 class_names"),
        ({"images": COLOR.transpose(0, 3, 1, 2)}, {}, r"images is \(12, 3, 6, 5\), and dataset.layout=channels_last takes"),
        ({"images": COLOR}, {"layout": "channels_first"}, r"images is \(12, 6, 5, 3\), and dataset.layout=channels_first takes"),
        ({"images": GREY[0]}, {}, r"images is \(6, 5\)"),
        ({"images": GREY[:0]}, {}, r"images is \(0, 6, 5\)"),
        ({"images": GREY * 1.0}, {}, r"images holds float64 from 0 to 255"),
        ({"images": GREY.astype(np.int16) - 1}, {}, r"images holds int16 from -1"),
        ({"images": GREY + np.nan}, {}, r"images holds float64 from nan"),
        ({"images": GREY.astype(complex)}, {}, r"images holds complex128"),
        ({"images": GREY, "labels": LABELS}, {"test_images": "images"}, r"give both, or none"),
        ({"images": GREY, "x": COLOR, "labels": LABELS}, {"test_images": "x", "test_labels": "labels"}, r"different sizes"),
    ],
)
def test_refuses(suffix: str, values: dict, options: dict, reason: str, tmp_path: Path) -> None:
    path = store(tmp_path / f"a.{suffix}", **values)
    with pytest.raises(UserError, match=reason) as told:
        arrays(path, **options)
    assert "\n" not in str(told.value)


class Bomb:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return pytest.fail, ("executed",)


def test_objects_are_never_executed_and_damage_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=np.array([Bomb()], dtype=object))
    with pytest.raises(UserError, match="objects of Python, which are not read"):
        arrays(str(path))
    whole = Path(store(path, images=GREY, labels=LABELS)).read_bytes()
    for i in range(60):
        damaged = bytearray(whole)
        damaged[RNG.randint(len(whole))] ^= 1 << RNG.randint(8)
        path.write_bytes(damaged[: RNG.randint(len(whole))] if i % 3 == 0 else damaged)
        try:
            arrays(str(path))
        except UserError as error:
            one_line = "\n" not in str(error) and str(path) in str(error)
            if not one_line:
                raise
    for name, reason in (("absent.npz", "no such file"), ("a.txt", "and .npz, .h5 or .hdf5 is read")):
        (tmp_path / "a.txt").write_text("x")
        with pytest.raises(UserError, match=reason):
            arrays(str(tmp_path / name))
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.h5").write_bytes(b"x")
    with pytest.raises(UserError, match=r"HDF5 takes the package h5py: pip install 'calotype\[hdf5\]'"):
        arrays(str(tmp_path / "a.h5"))


@pytest.mark.slow
def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import calotype

    path = store(tmp_path / "scans.npz", images=np.repeat(GREY, 4, 0), labels=np.repeat(LABELS, 4))
    calotype.run([*FAST, "dataset=arrays", f"dataset.path={path}", f"hydra.run.dir={tmp_path}/run"])
    assert "scans: 48 images of 3 classes (train " in capsys.readouterr().out


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_array_whose_head_asks_for_less_is_damaged(save, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """NumPy stopped reading before the checksum, and a part of the images was all of them."""
    good, path = tmp_path / "good.npz", tmp_path / "bad.npz"
    save(good, images=np.arange(900, dtype=np.uint8).reshape(9, 10, 10), labels=np.arange(9))
    with zipfile.ZipFile(good) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["images.npy"] = content["images.npy"].replace(b"(9, 10, 10)", b"(8, 10, 10)")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(UserError, match=r"bad.npz: damaged \(images has more bytes than numbers\)"):
        arrays(str(path), labels=None)

"""Items in memory: made in place, the same as one by one."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import calotype
from calotype.check import ConfigError
from calotype.data.items import Items, select, with_labels
from calotype.data.preprocess import Preprocess
from calotype.data.sampler import EpochSampler
from calotype.datasets.arrays import arrays
from calotype.datasets.image_folder import image_folder
from calotype.images import max_megapixels, set_max_megapixels
from calotype.types import Source, UserError

PEAK = """
import re, sys
from pathlib import Path
import torch
from calotype.data.items import Items
from calotype.data.preprocess import Preprocess
from calotype.data.items import with_labels
from calotype.types import Source

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

torch.set_num_threads(1)
if sys.argv[1] == "files":
    source = Source(name="s", items=[Path(sys.argv[2])] * 1200, channels=3)
    preprocess = Preprocess()
else:
    source = Source(name="s", items=torch.full((1200, 3, 256, 256), 7, dtype=torch.uint8), channels=3)
    preprocess = Preprocess(contrast=0.5)
items = Items(with_labels(source), preprocess, ram_budget=10**9)
items.pixels(torch.tensor([0]))  # what is loaded for the first image is no part of the peak
before = peak()
items.load()
print((peak() - before) / items.kept.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from Linux's /proc")
@pytest.mark.parametrize("kind", ["files", "tensor"])
def test_the_peak_is_what_is_kept_and_a_little(kind: str, tmp_path: Path) -> None:
    """Once it was twice as much: a list of images and then the tensor of them."""
    Image.new("RGB", (256, 256), (9, 90, 200)).save(tmp_path / "a.png", compress_level=1)
    command = [sys.executable, "-c", PEAK, kind, str(tmp_path / "a.png")]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert 0.9 < float(told) < 1.6  # 236 MB; a chunk of 4 MB and its floats are a few times that


def test_loaded_items_are_those_made_one_by_one(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (70, 3, 10, 12), dtype=torch.uint8)
    paths = []
    for i, image in enumerate(images):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(paths[-1])
    preprocess = Preprocess(size=6, colour="grey", background="border")
    for source in (Source(name="s", items=images, channels=3), Source(name="s", items=paths, channels=3)):
        items = Items(with_labels(source), preprocess, ram_budget=10**6)
        one_by_one = items.pixels(torch.arange(70))
        items.load()
        assert items.loaded
        assert torch.equal(items.pixels(torch.arange(70)), one_by_one)


def test_what_nothing_is_done_to_is_kept_as_it_is() -> None:
    images = torch.randint(0, 256, (9, 3, 4, 4), dtype=torch.uint8)
    items = Items(with_labels(Source(name="s", items=images, channels=3)), Preprocess(), ram_budget=10**6)
    items.load()
    assert items.kept is not None
    assert items.kept.data_ptr() == images.data_ptr()
    turned = images.permute(0, 1, 3, 2)
    items = Items(with_labels(Source(name="s", items=turned, channels=3)), Preprocess(), ram_budget=10**6)
    items.load()
    assert items.kept is not None
    assert items.kept.is_contiguous()
    assert torch.equal(items.kept, turned)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths[:2]:
        Image.new("L", (4, 4)).save(path)
    paths[2].write_text("no image")
    items = Items(with_labels(Source(name="s", items=paths, channels=1)), Preprocess(size=4), ram_budget=10**6)
    with pytest.raises(UserError, match=r"2\.png: not an image"):
        items.load()


def test_photographs_of_one_shown_size_need_no_resize(tmp_path: Path) -> None:
    """Stored as 12 x 8 and turned, or as 8 x 12: one size to a viewer. Once a traceback, or "differ in size"."""
    exif = Image.Exif()
    exif[0x0112] = 6
    paths = [tmp_path / f"{i}.{suffix}" for i, suffix in enumerate(["jpg", "jpg", "png", "tif"])]
    for path in paths[:1]:
        Image.new("RGB", (8, 12)).save(path)
    for path in paths[1:]:
        Image.new("RGB", (12, 8)).save(path, exif=exif)
    for budget in (0, 10**6):
        items = Items(with_labels(Source(name="s", items=paths, channels=3)), Preprocess(), ram_budget=budget)
        items.load()
        assert items.pixels(torch.arange(4)).shape == (4, 3, 12, 8)
    Image.new("RGB", (8, 12)).save(paths[1], exif=exif)
    with pytest.raises(UserError, match=r"differ in size \(.*0.jpg is 8x12, .*1.jpg is 12x8\): set data.preprocess.size"):
        Items(with_labels(Source(name="s", items=paths, channels=3)), Preprocess(), ram_budget=0)


def test_an_image_smaller_than_the_crop_is_named(tmp_path: Path) -> None:
    for i, side in enumerate((9, 9, 7)):
        Image.new("L", (side, 9)).save(tmp_path / f"{i}.png")
    source = with_labels(Source(name="s", items=sorted(tmp_path.glob("*.png")), channels=1))
    with pytest.raises(UserError, match=r"2\.png: data.preprocess.crop=\[8, 8\]: an image of 9x7"):
        Items(source, Preprocess(crop=8), ram_budget=10**6).load()


def test_workers_know_the_limit_of_pixels(tmp_path: Path) -> None:
    Image.new("L", (1200, 1000)).save(tmp_path / "a.png")
    set_max_megapixels(1)
    try:
        source = with_labels(Source(name="s", items=[tmp_path / "a.png"], channels=1))
        with pytest.raises(UserError, match=r"more than max_megapixels=1"):
            Items(source, Preprocess(size=4), ram_budget=0)
        set_max_megapixels(2)
        loader = Items(source, Preprocess(size=4), ram_budget=0).loader(EpochSampler([0], batch_size=1, train=False), num_workers=1)
        init = pickle.loads(pickle.dumps(loader.worker_init_fn))
        set_max_megapixels(None)
        init(0)
        assert max_megapixels() == 2
    finally:
        set_max_megapixels(None)


@pytest.mark.parametrize("first", [0, 3])
def test_unreadable_files_are_told_together(first: int, image_root: Path) -> None:
    """The first with what is wrong with it, and two more by name, whether or not the first of all is among them."""
    source = image_folder(str(image_root))
    assert not isinstance(source.items, torch.Tensor)
    bad = source.items[first : first + 7]
    for path in bad:
        path.write_bytes(b"" if path == bad[0] else path.read_bytes()[:60])
    told = f"{bad[0]}: an empty file; repair or remove it; nor can be read: {bad[1].name}, {bad[2].name} and 4 more"
    with pytest.raises(UserError, match=f"^{re.escape(told)}$"):
        Items(source, Preprocess(), ram_budget=2**30).load()


def test_unreadable_files_are_told_before_the_network(image_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (image_root / "dark" / "3.png").write_bytes(b"")
    run = ["dataset=image_folder", f"dataset.root={image_root}", "hardware=cpu", "logger=none", f"hydra.run.dir={tmp_path}/run"]
    with pytest.raises(UserError, match=r"3\.png: an empty file; repair or remove it \("):
        calotype.run(run)
    assert "trained parameters" not in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"data\.val_fraction=0\.9 and data\.test_fraction=0\.2: .* together below 1"):
        calotype.run([*run, f"hydra.run.dir={tmp_path}/none", "data.val_fraction=0.9", "data.test_fraction=0.2"])
    assert not (tmp_path / "none").exists()


def test_arrays_without_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 8, 8), dtype=np.uint8))
    with pytest.raises(UserError, match=r"has no labels \(its file holds none; see dataset\.labels\)"):
        select(arrays(str(tmp_path / "a.npz")), None, None)

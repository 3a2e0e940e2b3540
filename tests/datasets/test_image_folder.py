from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from calotype.datasets.image_folder import image_folder
from calotype.types import UserError


def test_classes_files_and_names(image_root: Path) -> None:
    source = image_folder(str(image_root))
    assert source.name == "pictures"
    assert source.class_names == ("bright", "dark")
    assert len(source) == 24
    assert source.labels is not None
    assert source.labels.tolist() == [0] * 12 + [1] * 12
    assert source.item_name(0) == "bright/0.png"


def test_nested_folders_are_one_class_each(tmp_path: Path) -> None:
    for name in ("greek/alpha", "greek/beta", "latin/a"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / name / "1.png")
    assert image_folder(str(tmp_path)).class_names == ("greek/alpha", "greek/beta", "latin/a")


def test_loose_images_have_no_labels(image_root: Path) -> None:
    source = image_folder(str(image_root / "dark"))
    assert source.labels is None
    assert len(source) == 12


def test_min_images_and_hidden_files(image_root: Path) -> None:
    (image_root / ".cache").mkdir()
    (image_root / "dark" / ".hidden.png").write_text("x")
    (image_root / "dark" / "notes.txt").write_text("x")
    for i in range(6):
        (image_root / "bright" / f"{i}.png").unlink()
    assert image_folder(str(image_root), min_images=7).class_names == ("dark",)


def test_errors(image_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        image_folder(str(tmp_path / "nowhere"))
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no images in it"):
        image_folder(str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"no class of .* has so many"):
        image_folder(str(image_root), min_images=100)
    (image_root / "empty").mkdir()
    with pytest.raises(UserError, match="empty: the class has no images"):
        image_folder(str(image_root))
    (image_root / "empty").rmdir()
    Image.new("L", (4, 4)).save(image_root / "stray.png")
    with pytest.raises(UserError, match=r"stray.png: an image beside the class folders"):
        image_folder(str(image_root))

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

import calotype
from calotype import images
from calotype.building import build_data
from calotype.compose import compose_config
from calotype.data.fingerprint import data_hash
from calotype.data.identity_batches import IdentityBatches
from calotype.data.labelled import Labelled
from calotype.data.pairs import Pairs
from calotype.data.preprocess import Preprocess
from calotype.data.summary import summary
from calotype.data.unlabelled import Unlabelled
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


def picture(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), level).save(path)


def split_root(root: Path, *sides: str, classes: tuple[str, ...] = ("a", "b")) -> Path:
    """Four images of each class on each side."""
    for side in sides:
        for name in classes:
            for i in range(4):
                picture(root / side / name / f"{i}.png")
    return root


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_the_folders_own_split(val: str, tmp_path: Path) -> None:
    """Six classes, once: train/a, train/b, ..."""
    source = image_folder(str(split_root(tmp_path, "train", val, "test")))
    assert source.class_names == ("a", "b")
    assert source.split_folders == ("train", val, "test")
    data = Labelled(dataset=source, preprocess=Preprocess(), val_fraction=0.5, test_fraction=0.4)
    for side, folder in (("train", "train"), ("val", val), ("test", "test")):
        assert {name.split("/")[0] for name in data.split_manifest[side]} == {folder}
        assert len(data.split_manifest[side]) == 8
    assert data.split_manifest["kind"] == f"folders train/{val}/test"
    assert summary(data) == f"{tmp_path.name}: 24 images of 2 classes (train 8, val 8, test 8; split by its folders)"


def test_a_side_without_a_folder_is_drawn_from_the_training_images(tmp_path: Path) -> None:
    source = image_folder(str(split_root(tmp_path, "train", "test")))
    data = Labelled(dataset=source, preprocess=Preprocess(), val_fraction=0.25, test_fraction=0.4)
    assert data.split_manifest["sizes"] == {"train": 6, "val": 2, "test": 8}
    assert all(name.startswith("train/") for name in data.split_manifest["val"])


def test_sides_without_classes(tmp_path: Path) -> None:
    for side, count in (("train", 5), ("test", 2)):
        for i in range(count):
            picture(tmp_path / side / f"{i}.png")
    source = image_folder(str(tmp_path))
    assert source.labels is None
    data = Unlabelled(dataset=source, preprocess=Preprocess(), val_fraction=0)
    assert data.split_manifest["sizes"] == {"train": 5, "val": 0, "test": 2}


@pytest.mark.parametrize("names", [("train",), ("test", "val"), ("train", "test", "car"), ("train", "val", "valid")])
def test_other_folders_are_classes(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        picture(tmp_path / name / "0.png")
    source = image_folder(str(tmp_path))
    assert source.split_folders == ()
    assert source.class_names == tuple(sorted(names))


def test_a_class_without_training_images_is_named(tmp_path: Path) -> None:
    split_root(tmp_path, "train", "test")
    picture(tmp_path / "test" / "only here" / "0.png")
    with pytest.raises(UserError, match="class 'only here' has no training images"):
        Labelled(dataset=image_folder(str(tmp_path)), preprocess=Preprocess())


def test_identities_of_the_folders_own_split(tmp_path: Path) -> None:
    split_root(tmp_path, "train", classes=("ann", "bob", "cy", "dan"))
    split_root(tmp_path, "val", classes=("eve", "flo"))
    split_root(tmp_path, "test", classes=("gil", "hal"))
    for kind in (IdentityBatches, Pairs):
        data = kind(dataset=image_folder(str(tmp_path)), preprocess=Preprocess())
        for side in ("train", "val", "test"):
            assert {name.split("/")[0] for name in data.split_manifest[side]} == {side}
    split_root(tmp_path, "test", classes=("ann",))
    for kind in (IdentityBatches, Pairs):
        with pytest.raises(UserError, match=r"ann: images in train and test, and no identity may stand on two sides"):
            kind(dataset=image_folder(str(tmp_path)), preprocess=Preprocess())


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    store, root = tmp_path / "store", tmp_path / "root"
    for name in ("cat", "dog"):
        picture(store / name / "0.png")
    root.mkdir()
    (root / "cat").symlink_to(store / "cat")
    (root / "dog").symlink_to(Path("..") / "store" / "dog")
    assert image_folder(str(root)).class_names == ("cat", "dog")
    (root / "cat" / "again").symlink_to(root)
    (root / "up").symlink_to(tmp_path)
    (root / "a link").symlink_to(root / "dog")
    (root / "broken.png").symlink_to(root / "nowhere.png")
    source = image_folder(str(root))
    assert source.class_names in (("a link", "cat"), ("cat", "dog"))  # one of two links to the same folder
    assert source.notes == ("3 link to a folder that is read already", "1 broken link")
    assert len(source) == 2
    (tmp_path / "linked").symlink_to(root)
    assert len(image_folder(str(tmp_path / "linked"))) == 2


def test_what_is_no_image_is_counted_and_named(image_root: Path) -> None:
    Image.open(image_root / "dark" / "0.png").save(image_root / "dark" / "0.jfif", "JPEG")
    for name in ("notes.txt", "more.txt", "raw.cr2", "README"):
        (image_root / "dark" / name).write_text("x")
    (image_root / "bright" / "phone.xyz").write_text("x")
    os.mkfifo(image_root / "bright" / "pipe.png")
    source = image_folder(str(image_root))
    assert len(source) == 25
    assert set(source.notes[1:]) <= {"1 .cr2", "1 file without a suffix", "1 .xyz", "1 pipe or device", "1 others"}
    assert source.notes[0] == "2 .txt"
    data = Labelled(dataset=source, preprocess=Preprocess())
    assert summary(data).startswith("pictures: 25 images of 2 classes (train ")
    assert "; passed over: 2 .txt, 1 " in summary(data)


def test_a_format_whose_decoder_is_missing_says_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "formats", lambda: images.FORMATS)
    picture(tmp_path / "a" / "0.png")
    (tmp_path / "a" / "1.HEIC").write_bytes(b"x")
    assert image_folder(str(tmp_path)).notes == ("1 .heic (pip install 'calotype[heic]')",)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.heic").write_bytes(b"x")
    with pytest.raises(UserError, match=r"b: the class has no images \(1 .heic \(pip install 'calotype\[heic\]'\)\)"):
        image_folder(str(tmp_path))


def test_own_outputs_are_no_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cat", "dog"):
        picture(tmp_path / name / "0.png")
    run = tmp_path / "outputs" / "classification" / "default" / "now"
    picture(run / "images" / "curves.png")
    (run / "run.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    source = image_folder(".")
    assert source.class_names == ("cat", "dog")
    assert source.notes == ("1 run folder",)
    picture(tmp_path / "outputs" / "painted" / "a.png")
    assert image_folder(".", output_dir="outputs").class_names == ("cat", "dog")
    cfg = compose_config(["dataset=image_folder", "dataset.root=.", "paths.output_dir=outputs", "data.test_fraction=0"])
    cfg.data.val_fraction = 0
    assert build_data(cfg).dataset.class_names == ("cat", "dog")
    assert len(image_folder("outputs/painted", output_dir="outputs")) == 1


def test_names_that_are_not_utf8_or_long(tmp_path: Path) -> None:
    names = (os.fsdecode(b"caf\xe9"), "n" * 250, "a=b(c)#'\"", "\u732b", "50%$#$")
    for name in names:
        picture(tmp_path / name / f"{name[:200]}.png")
    source = image_folder(str(tmp_path))
    assert sorted(source.class_names) == sorted((r"caf\udce9", *names[1:]))
    for name in source.class_names:
        name.encode()
    data_hash(source)
    with pytest.raises(UserError, match="no such folder"):
        image_folder("x" * 300)


@pytest.mark.slow
def test_a_run_with_any_names_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`50%$#$` ended it after its training, since the confusion matrix could not be drawn."""
    for number, name in enumerate(("50%$#$", "\u732b", os.fsdecode(b"caf\xe9"), "$\\undefined{", "a\nb", "n" * 250)):
        for i in range(6):
            picture(tmp_path / "odd" / name / f"{i}.png", 40 * number)
    fast = ["model.widths=[4]", "trainer.max_epochs=1", "hardware=cpu", "logger=none", "dataset=image_folder"]
    run = calotype.run([*fast, f"dataset.root={tmp_path}/odd", f"hydra.run.dir={tmp_path}/run"]).run_dir
    assert {path.name for path in (run / "images").iterdir()} >= {"confusion_matrix.png", "wrong.png", "curves.png"}
    assert "odd: 36 images of 6 classes (train 24, val 6, test 6)" in capsys.readouterr().out


def troubled(root: Path) -> Path:
    """Two classes of six images and all that lies about in users' folders; what is an image is read, and nothing else is."""
    for name in ("cat", "dog"):
        for i in range(6):
            picture(root / name / f"{i}.png", 40 * i)
        for junk in ("Thumbs.db", "desktop.ini", "labels.csv", ".DS_Store", "._0.png"):
            (root / name / junk).write_text("a,b\r\n1,2\r\n")
        (root / "__MACOSX" / name).mkdir(parents=True)
        (root / "__MACOSX" / name / "._0.png").write_text("x")
    picture(root / "cat" / "@eaDir" / "0.png" / "SYNOPHOTO_THUMB.jpg")
    picture(root / "$RECYCLE.BIN" / "old.png")
    (root / "lost+found").mkdir()
    (root / "Thumbs.db").write_text("x")
    (root / "photos.zip").write_bytes(b"PK")

    # Links: to a class, to the root, to one another, to nothing.
    (root / "cat again").symlink_to(root / "cat")
    (root / "dog" / "up").symlink_to(root)
    (root / "dog" / "one.png").symlink_to(root / "dog" / "two.png")
    (root / "dog" / "two.png").symlink_to(root / "dog" / "one.png")
    return root


def test_what_lies_about_in_users_folders(tmp_path: Path) -> None:
    """`__MACOSX`, which every archive of macOS has, was a class without images."""
    source = image_folder(str(troubled(tmp_path / "mine")))
    data = Labelled(dataset=source, preprocess=Preprocess(size=4))
    assert source.class_names == ("cat", "dog")
    assert summary(data) == (
        "mine: 12 images of 2 classes (train 8, val 2, test 2); passed over: 3 .db, 2 .ini, 2 .csv, 2 broken link, 7 others"
    )
    for name in ("train", "test"):
        shutil.copytree(tmp_path / "mine" / "cat", tmp_path / "split" / name / "cat")
    (tmp_path / "split" / "__MACOSX").mkdir()
    (tmp_path / "split" / "train" / "cat" / "@eaDir" / "x").mkdir(parents=True, exist_ok=True)
    assert image_folder(str(tmp_path / "split")).split_folders == ("train", "test")


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", "System Volume Information"])
def test_a_class_of_nothing_but_a_systems_folder_is_empty(name: str, tmp_path: Path) -> None:
    picture(tmp_path / "a" / "0.png")
    (tmp_path / "b" / name).mkdir(parents=True)
    with pytest.raises(UserError, match="b: the class has no images; add some or remove the folder"):
        image_folder(str(tmp_path))


def test_names_that_differ_in_case_alone_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("Cat", "cat", "dog", "Stra\u00dfe", "STRASSE"):
        (tmp_path / name).mkdir(exist_ok=True)
        picture(tmp_path / name / "0.png")
        picture(tmp_path / name / "0.PNG")
    source = image_folder(str(tmp_path))
    assert len(source) == 2 * len(source.class_names)  # on some systems Cat and cat are one
    lines = capsys.readouterr().err.splitlines()
    if len(source.class_names) == 5:
        assert lines == [
            f"calotype: dataset.root={tmp_path}: classes 'STRASSE' and 'Stra\u00dfe' differ in case alone, and are two",
            f"calotype: dataset.root={tmp_path}: classes 'Cat' and 'cat' differ in case alone, and are two",
        ] or lines == [*reversed(lines)]


MODES = {"RGBA": "png", "P": "png", "LA": "png", "I;16": "png", "L": "jpg", "1": "png", "CMYK": "jpg", "RGB": "tif"}


@pytest.mark.slow
def test_a_run_on_mixed_modes_and_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All modes, 1x1, 1x5000 and 5000x1 among others, names that are long or not UTF-8: a run is whole, grey and in colour."""
    root = troubled(tmp_path / "mine")
    for mode, suffix in MODES.items():
        path = root / "dog" / f"mode {mode.replace(';', '')}.{suffix}"
        Image.new(mode, (9, 5), 200).save(path) if mode != "LA" else Image.new(mode, (9, 5), (200, 100)).save(path)
    for width, height in ((1, 1), (1, 5000), (5000, 1)):
        Image.new("RGB", (width, height), (9, 90, 200)).save(root / "cat" / f"{width}x{height}.png")
    picture(root / "cat" / ("n" * 246 + ".png"))
    picture(root / "cat" / os.fsdecode(b"caf\xe9.png"))
    fast = ["model.widths=[4]", "trainer.max_epochs=1", "hardware=cpu", "logger=none", "data.preprocess.size=8", "dataset=image_folder"]
    for channels in (1, 3):
        options = [f"dataset.root={root}", f"dataset.channels={channels}", f"hydra.run.dir={tmp_path}/run{channels}"]
        run = calotype.run([*fast, *options]).run_dir
        assert {path.name for path in (run / "images").iterdir()} >= {"confusion_matrix.png", "wrong.png", "curves.png"}
        assert "mine: 25 images of 2 classes (train 18, val 2, test 5); passed over: " in capsys.readouterr().out

    (root / "dog" / "empty.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"dog/empty.png: an empty file; repair or remove it"):
        calotype.run([*fast, f"dataset.root={root}", f"hydra.run.dir={tmp_path}/none"])


def test_too_few_classes_or_images_are_one_line(tmp_path: Path) -> None:
    for i in range(6):
        picture(tmp_path / "a" / f"{i}.png")
    with pytest.raises(UserError, match="has 1 class, and telling apart takes two; add a class folder"):
        Labelled(dataset=image_folder(str(tmp_path)), preprocess=Preprocess())
    picture(tmp_path / "b" / "0.png")
    with pytest.raises(UserError, match=r"class 'b' has 1 image\(s\), the split needs 3: add images"):
        Labelled(dataset=image_folder(str(tmp_path)), preprocess=Preprocess())

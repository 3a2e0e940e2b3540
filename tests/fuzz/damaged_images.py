"""Damage image files, arrays, weights and galleries, and read each as every command does: no traceback, no hang, no silence.

python tests/fuzz/damaged_images.py --files 2000 --seed 0
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import io
import json
import os
import random
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

SECONDS = 30  # after which a command hangs
FAST = ["hardware=cpu", "hardware.num_threads=1", "logger=none", "trainer.max_epochs=1", "callbacks=default", "~callbacks.pictures",
        "trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]  # fmt: skip
CLASSIFIER = ["task=classification", "dataset=image_folder", "model.widths=[4]", *FAST]
FACES = ["task=facenet", "dataset=synthetic_faces", "dataset.num_identities=12", "dataset.images_per_identity=4", "dataset.size=16",
         "data.test_fraction=0.25", "data.val_fraction=0.25", "data.identities_per_batch=4", "data.batches_per_epoch=2",
         "model.backbone.widths=[4]", "loss=arcface", *FAST, "trainer.limit_val_batches=null"]  # fmt: skip
BAD = ("traceback", "hang", "silent", "lines")


class Outcome(NamedTuple):
    """Of one command over one damaged file.

    `named`: one line has its name. `silent`: taken without a word, though its own format tells that it is damaged.
    `harmless`: taken, and its format tells nothing. `lines`: refused, but not in one line that names the file.
    """

    kind: str
    text: str


# Files. Each function writes a good one; 48x40 pixels, above what the smallest network of styles takes.


def pixels(rng: random.Random, channels: int = 3, depth: int = 8) -> np.ndarray:
    """Return a smooth picture with some noise, (40, 48) or (40, 48, channels)."""
    random_state = np.random.RandomState(rng.randrange(2**31))
    y, x = np.mgrid[:40, :48] / 40
    waves = [np.sin(6 * (x * random_state.rand() + y * random_state.rand())) for _ in range(channels)]
    values = np.clip(np.stack(waves, -1) * 0.4 + 0.5 + random_state.normal(0, 0.02, (40, 48, channels)), 0, 1)
    values = np.rint(values * (2**depth - 1)).astype(np.uint8 if depth == 8 else np.uint16)
    return values[..., 0] if channels == 1 else values


def exif_of(rng: random.Random) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = rng.randint(1, 8)
    exif[0x010F] = "a camera"
    return exif.tobytes()


def by_pillow(mode: str, **options: Any) -> Callable[[Path, random.Random], None]:
    """Return a function that saves a picture of this mode."""

    def write(path: Path, rng: random.Random) -> None:
        image = Image.fromarray(pixels(rng))
        if mode == "I;16":
            image = Image.fromarray(pixels(rng, 1, 16))
        elif mode in ("RGBA", "LA"):
            image.putalpha(Image.fromarray(pixels(rng, 1)))
            image = image.convert(mode)
        elif mode == "frames":
            options.update(save_all=True, append_images=[Image.fromarray(pixels(rng)) for _ in range(2)])
        elif mode != "RGB":
            image = image.convert(mode)
        takes_exif = path.suffix in (".jpg", ".png", ".webp", ".tif", ".avif", ".heic") and mode != "frames"
        image.save(path, **options, **({"exif": exif_of(rng)} if takes_exif else {}))

    return write


def by_tifffile(**options: Any) -> Callable[[Path, random.Random], None]:
    def write(path: Path, rng: random.Random) -> None:
        import tifffile

        given = dict(options)
        values = pixels(rng, 1 if given["photometric"] == "miniswhite" else 3, given.pop("depth"))
        values = np.moveaxis(values, -1, 0) if given.get("planarconfig") == "separate" else values
        tags = [(274, "H", 1, rng.randint(1, 8), True)]
        tifffile.imwrite(path, np.ascontiguousarray(values), extratags=tags, metadata=None, **given)

    return write


def by_opencv(sampling: int) -> Callable[[Path, random.Random], None]:
    """Return a function that saves a JPEG whose colour has a resolution that Pillow cannot write."""

    def write(path: Path, rng: random.Random) -> None:
        import cv2

        encoded = cv2.imencode(".jpg", pixels(rng), [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling])[1].tobytes()
        exif = exif_of(rng)
        path.write_bytes(encoded[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + encoded[2:])

    return write


def deep_png(path: Path, rng: random.Random) -> None:
    """16 bits and colour, which Pillow cannot write."""
    values = pixels(rng, 3, 16).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 48, 40, 16, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def npz(path: Path, rng: random.Random) -> None:
    save = np.savez_compressed if rng.random() < 0.5 else np.savez
    save(path, images=np.stack([pixels(rng) for _ in range(12)]), labels=np.arange(12) % 2)


def hdf5(path: Path, rng: random.Random) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        options = {"compression": "gzip", "fletcher32": True, "chunks": (4, 40, 48, 3)} if rng.random() < 0.5 else {}
        file.create_dataset("images", data=np.stack([pixels(rng) for _ in range(12)]), **options)
        file.create_dataset("labels", data=np.arange(12) % 2)


IDX = tuple(f"{part}-{rest}" for part in ("train", "t10k") for rest in ("images-idx3-ubyte", "labels-idx1-ubyte"))


def idx(path: Path, rng: random.Random) -> None:
    """A small MNIST: four files, of which `path` is one."""
    for part, count in (("train", 20), ("t10k", 10)):
        images = np.stack([pixels(rng, 1)[:28, :28] for _ in range(count)])
        head = struct.pack(">IIII", 2051, count, 28, 28)
        (path.parent / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        (path.parent / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())


def pickled_array(path: Path, rng: random.Random) -> None:
    import joblib

    values = np.random.RandomState(rng.randrange(2**31)).rand(400, 4096).round(1).astype(np.float32)
    joblib.dump(values, path, compress=6)


def weights(path: Path, rng: random.Random) -> None:
    torch.save({f"features.{i}.{part}": torch.rand(3) for i in (0, 2, 5) for part in ("weight", "bias")}, path)


PICTURES: dict[str, tuple[str, Callable[[Path, random.Random], None]]] = {
    "jpeg 4:4:4": ("jpg", by_pillow("RGB", subsampling=0)),
    "jpeg 4:2:2": ("jpg", by_pillow("RGB", subsampling=1)),
    "jpeg 4:2:0": ("jpg", by_pillow("RGB", subsampling=2)),
    "jpeg progressive": ("jpg", by_pillow("RGB", progressive=True)),
    "jpeg cmyk": ("jpg", by_pillow("CMYK")),
    "jpeg grey": ("jpg", by_pillow("L")),
    "png": ("png", by_pillow("RGB")),
    "png alpha": ("png", by_pillow("RGBA")),
    "png palette": ("png", by_pillow("P")),
    "png grey alpha": ("png", by_pillow("LA")),
    "png 1 bit": ("png", by_pillow("1")),
    "png 16 bit": ("png", by_pillow("I;16")),
    "png 16 bit colour": ("png", deep_png),
    "gif": ("gif", by_pillow("P")),
    "gif frames": ("gif", by_pillow("frames")),
    "bmp": ("bmp", by_pillow("RGB")),
    "ppm": ("ppm", by_pillow("RGB")),
    "pgm": ("pgm", by_pillow("L")),
    "webp": ("webp", by_pillow("RGB")),
    "webp lossless": ("webp", by_pillow("RGBA", lossless=True)),
    "webp frames": ("webp", by_pillow("frames")),
    "tiff": ("tif", by_pillow("RGB")),
    "tiff lzw": ("tif", by_pillow("RGB", compression="tiff_lzw")),
    "tiff deflate": ("tif", by_pillow("RGB", compression="tiff_deflate")),
    "tiff jpeg": ("tif", by_pillow("RGB", compression="jpeg")),
    "tiff 16 bit": ("tiff", by_tifffile(depth=16, photometric="rgb")),
    "tiff 16 bit planar": ("tif", by_tifffile(depth=16, photometric="rgb", planarconfig="separate")),
    "tiff 16 bit deflate": ("tif", by_tifffile(depth=16, photometric="rgb", compression="zlib")),
    "tiff white is zero": ("tif", by_tifffile(depth=16, photometric="miniswhite")),
}  # fmt: skip
if importlib.util.find_spec("cv2") is not None:
    PICTURES["jpeg 4:1:1"] = ("jpeg", by_opencv(0x411111))
    PICTURES["jpeg 4:4:0"] = ("jfif", by_opencv(0x121111))
if importlib.util.find_spec("PIL._avif") is not None:
    PICTURES["avif"] = ("avif", by_pillow("RGB"))
if importlib.util.find_spec("pillow_heif") is not None:
    PICTURES["heic"] = ("heic", by_pillow("RGB"))
OTHERS: dict[str, tuple[str, Callable[[Path, random.Random], None]]] = {
    "npz": ("npz", npz),
    "idx": ("", idx),
    "olivetti": ("pkz", pickled_array),
    "weights": ("pth", weights),
}
if importlib.util.find_spec("h5py") is not None:
    OTHERS["hdf5"] = ("h5", hdf5)


# Damages. Each changes the bytes, or puts something else in the file's place.


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_bits_of_the_head(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        changed[rng.randrange(min(len(data), 120))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice([rng.randrange(len(data)), len(data) - rng.randint(1, 40), rng.randint(1, 40)])]


def swap_blocks(data: bytes, rng: random.Random) -> bytes:
    size = max(1, len(data) // rng.randint(3, 40))
    i, j = sorted((rng.randrange(len(data) - size), rng.randrange(len(data) - size)))
    if j - i < size:
        return data[:i] + data[j : j + size] + data[i:j] + data[j + size :]
    return data[:i] + data[j : j + size] + data[i + size : j] + data[i : i + size] + data[j + size :]


def zero_block(data: bytes, rng: random.Random) -> bytes:
    start, size = rng.randrange(len(data)), max(1, len(data) // rng.randint(2, 40))
    return data[:start] + bytes(len(data[start : start + size])) + data[start + size :]


def enlarge(data: bytes, rng: random.Random) -> bytes:
    """Where the width or height may stand, a greater one: in two or four bytes of either order."""
    places = []
    for side in (48, 40, 28):
        for form in (">H", "<H", ">I", "<I"):
            word = struct.pack(form, side)
            start = data.find(word)
            while 0 <= start < 4000:
                places.append((start, form))
                start = data.find(word, start + 1)
    start, form = rng.choice(places or [(0, ">H")])
    greater = rng.choice([49, 64, 1000, 0x7FFF, 0xFFFF] + ([10**6, 2**31 - 1, 2**32 - 1] if form[1] == "I" else []))
    word = struct.pack(form, greater)
    return data[:start] + word + data[start + len(word) :]


def append(data: bytes, rng: random.Random) -> bytes:
    return data + rng.choice([b"\0" * 100, rng.randbytes(300), data[:200], b"\n"])


def leave_out(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randint(1, 200) :]


def other_content(data: bytes, rng: random.Random) -> bytes:
    return rng.choice(
        [b"", b"\0" * len(data), rng.randbytes(500), b"<html>404</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n{} loop\n", b"version https://git-lfs"]
    )


BYTES = (
    flip_bits,
    flip_bits,
    flip_bits_of_the_head,
    truncate,
    truncate,
    swap_blocks,
    zero_block,
    enlarge,
    append,
    leave_out,
    other_content,
)


def damage(path: Path, rng: random.Random) -> tuple[Path, str]:
    """Damage a file; where it is now, and what was done."""
    data, chance = path.read_bytes(), rng.random()
    if chance < 0.05:
        path.unlink()
        kind = rng.choice(["folder", "link to itself", "pipe", "link to a device", "broken link"])
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to({"link to itself": path, "link to a device": "/dev/zero", "broken link": path.parent / "nowhere"}[kind])
        return path, kind
    if chance < 0.1 and path.suffix in {f".{suffix}" for suffix, _ in PICTURES.values()}:
        other = path.with_suffix(rng.choice([".png", ".jpg", ".tif", ".gif", ".webp", ".bmp", ".ppm", ".txt", ""]))
        return path.rename(other), f"named {other.suffix}"
    way = rng.choice(BYTES)
    path.write_bytes(way(data, rng))
    return path, way.__name__


# Whether the format itself tells that the file is damaged: by Pillow and the checksums of PNG, zip and gzip.


def tells_damage(path: Path) -> bool:
    """Return whether a careful reader refuses the file or warns of it."""
    if not path.is_file():
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if path.suffix in (".npz", ".pth"):
                with zipfile.ZipFile(path) as archive:
                    return archive.testzip() is not None
            if path.suffix == ".pkz":
                zlib.decompress(path.read_bytes())
                return False
            if path.suffix == ".gallery":
                _, digest, raw = path.read_bytes().split(b"\n", 2)
                return hashlib.sha256(raw).hexdigest().encode() != digest
            if path.suffix in (".h5", ""):
                return False
            with Image.open(path) as image:
                image.load()
            with Image.open(path) as image:
                image.verify()
    except Exception:
        return True
    return False


# Commands.


class Place(NamedTuple):
    """Where the runs are and what is read."""

    classifier: Path
    verifier: Path
    scratch: Path


def readers(place: Place, path: Path, kind: str) -> dict[str, Callable[[], None]]:
    """Return every way in which a command reads the file."""
    if kind in OTHERS:
        return {"data": lambda: read_data(path, kind)} if kind != "weights" else {"weights": lambda: read_weights(path)}
    if kind == "gallery":
        return gallery_readers(place, path)
    from calotype.cli_apply import apply_main

    good = str(place.scratch / "good.png")
    ways: dict[str, Callable[[], None]] = {
        "train": lambda: train_on(path, size=16),
        "train unresized": lambda: train_on(path, size=None),
        "dip": lambda: restore(path),
        "style": lambda: repaint(path),
        "mask": lambda: read_mask(path),
        "classify": lambda: apply_main([str(place.classifier), "classify", str(path)]),
        "verify": lambda: apply_main([str(place.verifier), "verify", good, str(path)]),
        "add": lambda: apply_main([str(place.verifier), "gallery", "add", "Ann", str(path), "--gallery", str(place.scratch / "g")]),
        "page": lambda: show(place, path),
    }
    if kind.startswith("jpeg"):
        ways["operator"] = lambda: jpeg_operator(path)
    return ways


def train_on(path: Path, size: int | None) -> None:
    """A training's start on a folder that holds the file, up to all its images."""
    from calotype.building import build
    from calotype.console import echo
    from calotype.data.labelled import Labelled
    from calotype.data.summary import summary
    from calotype.datasets.image_folder import image_folder

    given = {"_target_": "calotype.data.preprocess.Preprocess", "size": size}
    data = Labelled(dataset=image_folder(str(path.parents[1])), preprocess=build(given))
    echo(summary(data))
    data.setup("fit")
    data.items.pixels(torch.arange(len(data.items)))


def restore(path: Path) -> None:
    from calotype.data.operators import Identity
    from calotype.data.single_image import SingleImage
    from calotype.datasets.one_image import one_image

    SingleImage(dataset=one_image(path=str(path)), operator=Identity())


def repaint(path: Path) -> None:
    from calotype.data.content_style import ContentStyle
    from calotype.datasets.one_image import one_image

    ContentStyle(dataset=one_image(path=str(path)), style=str(path), size=48)


def read_mask(path: Path) -> None:
    from calotype.data.masks import FileMask
    from calotype.datasets.image_file import read_image

    FileMask(path=str(path))(*read_image(path, 1).shape[1:])


def jpeg_operator(path: Path) -> None:
    from calotype.data.jpeg import Jpeg
    from calotype.datasets.image_file import read_deep

    Jpeg(file=str(path))(read_deep(path)[None])


def show(place: Place, path: Path) -> None:
    """The page of a run with the file among its pictures."""
    from calotype.cli_report import report_main

    images = place.classifier / "images"
    shutil.rmtree(images, ignore_errors=True)
    images.mkdir()
    path.rename(images / f"{path.stem}.png")
    report_main([str(place.classifier), "--page", str(place.scratch / "page.html")])


def read_data(path: Path, kind: str) -> None:
    from calotype.datasets.arrays import arrays
    from calotype.datasets.characters import mnist
    from calotype.datasets.faces import olivetti

    if kind == "idx":
        mnist(str(path.parents[2]), download=False)
    elif kind == "olivetti":
        olivetti(str(path.parent), download=False)
    else:
        arrays(str(path))


def read_weights(path: Path) -> None:
    from calotype.models.vgg import VGG
    from calotype.types import UserError

    try:
        VGG(weights=str(path))
    except UserError as error:
        if "the state dict of torchvision" not in str(error):  # what is wrong with the good one: its shapes
            raise


def gallery_readers(place: Place, path: Path) -> dict[str, Callable[[], None]]:
    from calotype.cli_apply import apply_main

    run, good, where = str(place.verifier), str(place.scratch / "good.png"), ["--gallery", str(path)]
    return {
        "list": lambda: apply_main([run, "gallery", "list", *where]),
        "identify": lambda: apply_main([run, "identify", good, *where]),
        "add": lambda: apply_main([run, "gallery", "add", "Bob", good, *where]),
        "remove": lambda: apply_main([run, "gallery", "remove", "Ann", *where]),
    }


def run_reader(read: Callable[[], None], path: Path) -> Outcome:
    """Run it in this process, and say how it ended."""
    from calotype.types import UserError

    out, err = io.StringIO(), io.StringIO()
    is_damaged = tells_damage(path)
    names = {path.name, path.stem}
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            read()
    except SystemExit as left:
        lines = [line for line in err.getvalue().splitlines() if line.startswith("calotype: ")]
        if left.code and not isinstance(left.code, int):
            return Outcome("traceback", str(left.code))
        if left.code and not any(name in line for line in lines for name in names):
            return Outcome("lines", err.getvalue())
    except UserError as error:
        is_named = any(name in str(error) for name in names) and "\n" not in str(error)
        return Outcome("named" if is_named else "lines", str(error))
    except BaseException:
        return Outcome("traceback", traceback.format_exc())

    text = out.getvalue() + err.getvalue()
    if "Warning: " in text or "Traceback" in text:  # Python's own, in several lines
        return Outcome("lines", text)
    is_told = any(name in line for name in names for line in err.getvalue().splitlines()) or "passed over: 1" in text
    if is_told:
        return Outcome("named", text)
    return Outcome("silent" if is_damaged else "harmless", text)


def in_child(work: Callable[[], Outcome]) -> Outcome:
    """Run it in a process of its own, which may crash or hang."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if child == 0:
        try:
            with open(writing, "w", encoding="utf-8", errors="backslashreplace") as pipe, tempfile.TemporaryFile() as printed:
                os.dup2(printed.fileno(), 2)  # what decoders in C print is no line of ours
                found = work()
                printed.seek(0)
                text = printed.read().decode("utf-8", "replace")
                json.dump(Outcome("lines", text) if text and found.kind not in BAD else found, pipe)
        finally:
            os._exit(0)

    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        is_ready, _, _ = select.select([pipe], [], [], SECONDS)
        if not is_ready:
            os.kill(child, signal.SIGKILL)
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if not is_ready:
        return Outcome("hang", f"over {SECONDS} s")
    return Outcome(*json.loads(text)) if text else Outcome("traceback", f"ended by signal {status}")


def make_place(folder: Path) -> Place:
    """The two runs that files are given to, in some seconds."""
    import calotype

    rng = random.Random(0)
    for name in ("a", "b"):
        (folder / "training" / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(pixels(rng)).save(folder / "training" / name / f"{i}.png")
    Image.fromarray(pixels(rng)).save(folder / "good.png")
    options = [f"dataset.root={folder}/training", "data.preprocess.size=16", f"hydra.run.dir={folder}/classifier"]
    with contextlib.redirect_stdout(io.StringIO()):
        calotype.run([*CLASSIFIER, *options])
        calotype.run([*FACES, f"hydra.run.dir={folder}/verifier"])
    return Place(folder / "classifier", folder / "verifier", folder)


def make_file(place: Place, kind: str, rng: random.Random) -> Path:
    """A good file of this kind in a folder of its own."""
    home = place.scratch / "files"
    shutil.rmtree(home, ignore_errors=True)
    if kind == "gallery":
        from calotype.cli_apply import apply_main

        home.mkdir()
        kept = place.scratch / "whole.gallery"
        if not kept.exists():
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                add = ["gallery", "add", "Ann", str(place.scratch / "good.png"), "--gallery", str(kept)]
                apply_main([str(place.verifier), *add])
        return Path(shutil.copy(kept, home / "people.gallery"))
    if kind in OTHERS:
        suffix, write = OTHERS[kind]
        path = home / {"idx": "MNIST/raw/" + rng.choice(IDX), "olivetti": "olivetti_py3.pkz"}.get(kind, f"the-file.{suffix}")
        path.parent.mkdir(parents=True)
        write(path, rng)
        return path

    for name in ("a", "b"):
        (home / name).mkdir(parents=True)
        for i in range(3):
            shutil.copy(place.scratch / "good.png", home / name / f"{i}.png")
    suffix, write = PICTURES[kind]
    path = home / "a" / f"the-file.{suffix}"
    write(path, rng)
    return path


KINDS = (*PICTURES, *OTHERS, "gallery")


def damaged_file(place: Place, seed: int, i: int) -> tuple[Path, str, str]:
    """Make the damaged file of this number; where it is, its kind, what was done to it."""
    rng = random.Random(f"{seed} {i}")
    kind = KINDS[i % len(KINDS)]
    path, what = damage(make_file(place, kind, rng), rng)
    return path, kind, what


def fuzz(place: Place, count: int, seed: int, *, each: int = 2) -> tuple[Counter[str], list[str]]:
    """Damage `count` files and give each to `each` commands.

    Returns:
        How often each outcome was, and what went wrong, in words.
    """
    counts: Counter[str] = Counter()
    faults = []
    for i in range(count):
        path, kind, what = damaged_file(place, seed, i)
        ways = sorted(readers(place, path, kind))
        for way in random.Random(f"{i} {seed}").sample(ways, min(each, len(ways))):
            path, kind, what = damaged_file(place, seed, i)  # again, since a command may have moved or changed it
            read = readers(place, path, kind)[way]
            found = in_child(lambda: run_reader(read, path))  # noqa: B023 - it runs at once
            counts[found.kind] += 1
            if found.kind in BAD:
                faults.append(f"{i} {kind}, {what}, {way}: {found.kind}: {found.text.strip()[-1500:]}")
    return counts, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=2, help="commands that each damaged file is given to")
    parser.add_argument("--show", type=int, default=10, help="faults that are printed")
    options = parser.parse_args()

    torch.set_num_threads(1)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        counts, faults = fuzz(make_place(Path(folder)), options.files, options.seed, each=options.each)
    for fault in faults[: options.show]:
        print(fault, end="\n\n")
    told = ", ".join(f"{counts[kind]} {kind}" for kind in BAD)
    rest = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()) if kind not in BAD)
    print(f"{options.files} damaged files, {sum(counts.values())} commands: {told}; {rest}; {time.perf_counter() - began:.0f} s")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

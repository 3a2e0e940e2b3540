from __future__ import annotations

import errno
import importlib
import pkgutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from PIL import Image
from pytorch_lightning import Callback

from calotype import callbacks
from calotype.callbacks import plots
from calotype.callbacks import words as callback_words
from calotype.callbacks.pictures import Pictures, PictureWarning
from calotype.callbacks.prediction_pictures import confusion_figure
from calotype.callbacks.words import _found, family_with, words
from calotype.types import UserError


def test_grid_shows_every_image(tmp_path: Path) -> None:
    images = [torch.full((1, 6, 6), v, dtype=torch.uint8) for v in (0, 90, 180)]
    plots.save(plots.image_grid(images, ["a", "b", "c"], title="t", colours=["k"] * 3, columns=2), tmp_path / "x" / "grid.png")
    with Image.open(tmp_path / "x" / "grid.png") as picture:
        shown = np.bincount(np.asarray(picture.convert("L")).ravel(), minlength=256)
    for level in (0, 90, 180):
        assert shown[max(0, level - 1) : level + 2].sum() > 5000, level
    assert not list(tmp_path.rglob("*.part"))


def test_confusion_shades_by_the_row(tmp_path: Path) -> None:
    plots.save(plots.confusion(torch.tensor([[5, 0], [0, 500]]), ["rare", "often"]), tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    dark = (np.abs(pixels.astype(int) - (8, 48, 107)).max(1) < 3).sum()  # the darkest of Blues: both rows are all right
    assert dark > 0.15 * len(pixels)


def test_empty_curves_and_long_names(tmp_path: Path) -> None:
    plots.save(plots.curves({"loss": {"train/loss": ([1.0], [0.0])}}, x_label="step"), tmp_path / "e.png")
    assert plots.shorten("A_very_long_name_indeed") == "A_very_long_name_…"


def test_confusion_of_a_thousand_classes_shows_those_with_errors(tmp_path: Path) -> None:
    """A picture of 1000 x 1000 cells has no names and less than a pixel a cell."""
    labels = torch.arange(1000).repeat(3)
    predicted = labels.clone()
    predicted[[500, 1500, 2500]] = 7
    figure = confusion_figure(predicted, labels, [f"c{i}" for i in range(1000)])
    axis = figure.axes[0]
    names = [tick.get_text() for tick in axis.get_yticklabels()]
    assert len(names) == 41
    assert {"c7", "c500", "960 others"} <= set(names)
    table = axis.images[0].get_array()
    assert table[names.index("c500"), names.index("c7")] == 1
    assert "40 of 1000 classes" in axis.get_title()
    plots.save(figure, tmp_path / "c.png")
    few = confusion_figure(torch.tensor([0, 1]), torch.tensor([0, 0]), ["a", "b"])
    assert [tick.get_text() for tick in few.axes[0].get_yticklabels()] == ["a", "b"]


NAMES = ["50%$#$", "\u732b", "a_b^c\\frac", "$x$", "\u00e9\u03b1\u0436", "tab\there", "$\\undefined{", "caf\udce9", "#%&~{}"]


def test_names_are_written_as_they_are(tmp_path: Path) -> None:
    """`50%$#$` ended a run after its training, and a cat in Japanese was a box."""
    k = len(NAMES)
    images = [torch.full((3, 6, 6), 90, dtype=torch.uint8)] * k
    lines = {name: ([1.0, 2.0], [1.0, 2.0]) for name in NAMES}
    pictures = {
        "grid": plots.image_grid(images, [f"{name} 90%\ntrue: {name}" for name in NAMES], title=NAMES[0], colours=["k"] * k),
        "confusion": plots.confusion(torch.eye(k, dtype=torch.int64), NAMES, title="$%"),
        "curves": plots.curves({"$%": lines}, x_label="step"),
        "rows": plots.rows({name: [plots.to_image(torch.zeros(1, 3, 4, 4))] for name in NAMES}, {name: [name] for name in NAMES}),
    }
    for name, figure in pictures.items():
        plots.save(figure, tmp_path / f"{name}.png")  # warnings, of a missing glyph for one, are errors here
        texts = [text for text in figure.findobj(Text) if any(mark in text.get_text() for mark in ("$#$", "$x$"))]
        assert texts, name
        assert not any(text.get_parse_math() for text in texts), name
    shown, _ = words("50%$#$", "caf\udce9", "tab\there")
    assert shown == ["50%$#$", r"caf\udce9", r"tab\there"]


def test_a_font_that_has_the_character(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that come with matplotlib some have characters that its usual one lacks."""
    others = [font for font in fontManager.ttflist if font.name == "STIXGeneral"]
    lacking = sorted(
        set().union(*(FT2Font(font.fname).get_charmap() for font in others)) - FT2Font(findfont("DejaVu Sans")).get_charmap().keys()
    )
    character = next(chr(code) for code in lacking if chr(code).isprintable())
    (shown,), style = words(f"a{character}")
    assert shown == f"a{character}"
    assert style["family"][-1] == family_with(character) != ""
    monkeypatch.setattr(fontManager, "ttflist", [])
    _found.cache_clear()
    (shown,), style = words(f"a{character}\u732b")
    assert shown == f"a{character}\u732b".encode("ascii", "backslashreplace").decode()
    assert "family" not in style
    _found.cache_clear()


def test_names_take_no_more_room_than_letters_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Names whose characters no font has are written as numbers: they were six times as long, and the matrix beside them a stamp."""
    monkeypatch.setattr(callback_words, "_found", lambda character: "Some CJK" if character == "\u732b" else None)
    monkeypatch.setattr(callback_words, "_lacking", set())
    assert plots.shorten("\u732b" * 9) == "\u732b" * 9
    assert plots.shorten("\u732b" * 10) == "\u732b" * 8 + "\u2026"
    assert plots.shorten("\ud55c\uad6d\uc5b4") == "\ud55c\uad6d\uc5b4"  # 18 letters as numbers
    assert plots.shorten("\ud55c\uad6d\uc5b4 ") == "\ud55c\uad6d\u2026"
    assert plots.shorten("x" * 19) == "x" * 17 + "\u2026"
    for _ in range(2):
        words("\ud55c", "\uad6d")
    assert capsys.readouterr().err == (
        "calotype: no installed font has \ud55c (in a name): pictures have its number; install one, as Noto Sans CJK\n".replace(
            "\ud55c", min("\ud55c", "\uad6d")
        )
    )


def test_cells_are_as_high_as_their_images(tmp_path: Path) -> None:
    """Pairs, twice as wide as high, had as much white between their rows; a strip on end was a picture of 30,000 pixels."""
    tiles = [torch.zeros(3, 10, 20, dtype=torch.uint8)] * 8
    square = [torch.zeros(3, 20, 20, dtype=torch.uint8)] * 8
    low, high = (plots.image_grid(images, [""] * 8, title="", colours=["k"] * 8, columns=4).get_figheight() for images in (tiles, square))
    assert low < 0.65 * high
    strips = [Image.new("RGB", (20, 5000), "black")] * 2
    plots.save(plots.strip(strips, ["a", "b"]), tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.height < 1200
        assert np.asarray(picture.convert("L")).min() < 128


@pytest.mark.parametrize("hook", ["on_test_end", "on_train_epoch_end", "draw"])
def test_a_picture_that_cannot_be_drawn_is_a_warning(hook: str) -> None:
    class Broken(Pictures):
        def setup(self, trainer: object, pl_module: object, stage: str) -> None:
            raise UserError("options are still refused")

    def fail(self, *_: object) -> None:  # type: ignore[no-untyped-def]
        raise ValueError("no\n\nglyph")

    broken = type("Broken", (Broken,), {hook: fail})()
    with pytest.warns(PictureWarning, match=r"^Broken could not draw \(ValueError: no glyph\); the run itself is whole$") as seen:
        getattr(broken, hook)(None, None)
    line = warnings.formatwarning(seen[0].message, seen[0].category, seen[0].filename, seen[0].lineno)
    assert line.count("\n") == 1
    with pytest.raises(UserError):
        broken.setup(None, None, "fit")

    def full(self, *_: object) -> None:  # type: ignore[no-untyped-def]
        raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(OSError, match="no space"):
        getattr(type("Full", (Broken,), {hook: full})(), hook)(None, None)


def test_every_callback_that_draws_is_guarded() -> None:
    for module in pkgutil.iter_modules(callbacks.__path__, "calotype.callbacks."):
        for value in vars(importlib.import_module(module.name)).values():
            draws = isinstance(value, type) and issubclass(value, Callback) and value.__module__ == module.name
            if draws and "plots" in vars(importlib.import_module(module.name)):
                assert issubclass(value, Pictures), value


def test_every_text_of_a_saved_figure_is_readable(tmp_path: Path) -> None:
    """Titles, labels, annotations and legends that a callback sets by matplotlib's own means are safe, too."""
    figure = Figure()
    axis = figure.subplots()
    axis.plot([1, 2], label="$x^$")
    axis.set_title("50%$#$ 猫 \U0001f9ff")
    axis.set_xlabel("_a_ $")
    axis.annotate("$\\frac$", (0, 1))
    axis.legend()
    plots.save(figure, tmp_path / "figure.png")
    assert not any(text.get_parse_math() for text in (axis.title, axis.xaxis.label, *axis.texts, *axis.get_legend().get_texts()))
    assert axis.title.get_text().startswith("50%$#$ ")
    plots.save(figure, tmp_path / "again.png")
    assert (tmp_path / "figure.png").read_bytes() == (tmp_path / "again.png").read_bytes()

"""Names of classes and files in pictures: as they are written, in a font that has their characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Any

from calotype.console import complain

# Fonts that come with matplotlib for formulas, whose codes are no characters, and the one that draws boxes.
NOT_FOR_TEXT = ("Last Resort", "cm", "STIXSize", "STIXNonUnicode", "DejaVu Sans Display", "DejaVu Serif Display")

_lacking: set[str] = set()  # the first character that no font has: it is told once in a process


def words(*texts: str) -> tuple[list[str], dict[str, Any]]:
    """Return texts that can be drawn, and the arguments that matplotlib's text takes to draw them as they are written.

    Dollar signs are no formulas. A character that the usual font lacks is drawn by an installed one that has it, and is
    written as its number (`\\u732b`) where none has.
    """
    style: dict[str, Any] = {"parse_math": False}
    if all(text.isascii() and text.isprintable() for text in texts):
        return list(texts), style

    families = dict.fromkeys(family for text in texts for character in text if (family := family_with(character)))
    if families:
        style["family"] = [*_usual_families(), *families]
    if lacking := {c for text in texts for c in text if c.isprintable() and _shown(c) != c}:
        _tell_of_fonts(min(lacking))
    return ["".join(map(_shown, text)) for text in texts], style


def cut(text: str, most: int) -> str:
    """Return a text that takes no more room than `most` letters, with an ellipsis where it was cut; characters count as they are drawn."""
    widths = [_width(character) for character in text]
    if sum(widths) <= most:
        return text
    room, end = most - 1, 0
    while widths[end] <= room:
        room -= widths[end]
        end += 1
    return text[:end] + "…"


def written(axis: Any, x: float, y: float, text: str, **options: Any) -> None:
    """Write a text on axes."""
    (shown,), style = words(text)
    axis.text(x, y, shown, **options, **style)


def titled(axis: Any, text: str, **options: Any) -> None:
    """Give axes a title."""
    (shown,), style = words(text)
    axis.set_title(shown, **options, **style)


def legend(axis: Any, names: Iterable[str], **options: Any) -> None:
    """Name the lines of axes, in order."""
    shown, style = words(*names)
    made = axis.legend(shown, **options)
    for text in made.get_texts():
        text.set(**style)


def readable(figure: Any) -> None:
    """Make every text of a figure, but the numbers at its axes, one that can be drawn as it is written.

    Names that stand at an axis go through `words` where they are given to it: matplotlib sets them again as it draws.
    """
    from matplotlib.axis import Tick
    from matplotlib.text import Text

    at_axes = {id(label) for tick in figure.findobj(Tick) for label in (tick.label1, tick.label2)}
    for text in figure.findobj(Text):
        if id(text) in at_axes:
            continue
        (shown,), style = words(text.get_text())
        text.set(text=shown, **style)


def family_with(character: str) -> str:
    """Return the family of a font that has a character which the usual font lacks; nothing where it has it, or none has."""
    return "" if character.isascii() or _is_usual(character) else _found(character) or ""


def _shown(character: str) -> str:
    if character == "\n" or (character.isascii() and character.isprintable()):
        return character
    if character.isprintable() and (_is_usual(character) or _found(character)):
        return character
    return character.encode("ascii", errors="backslashreplace").decode() if not character.isascii() else repr(character)[1:-1]


def _width(character: str) -> int:
    """Return how many letters' room a character takes: one that is written as its number many, one of East Asia two."""
    shown = _shown(character)
    return 2 if shown == character and unicodedata.east_asian_width(character) in "WF" else len(shown)


def _tell_of_fonts(character: str) -> None:
    if _lacking:
        return
    _lacking.add(character)
    complain(f"no installed font has {character} (in a name): pictures have its number; install one, as Noto Sans CJK")


def _usual_families() -> list[str]:
    from matplotlib import rcParams

    return [str(family) for family in rcParams["font.family"]]


def _is_usual(character: str) -> bool:
    from matplotlib.font_manager import FontProperties, findfont

    return ord(character) in _characters(findfont(FontProperties()))


@cache
def _found(character: str) -> str | None:
    from matplotlib.font_manager import fontManager

    for font in sorted(fontManager.ttflist, key=lambda font: (font.name, font.style != "normal", str(font.weight), font.fname)):
        if not font.name.startswith(NOT_FOR_TEXT) and ord(character) in _characters(font.fname):
            return str(font.name)
    return None


@cache
def _characters(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # a font that this matplotlib cannot read
        return frozenset()

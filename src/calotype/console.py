"""What is printed, and how: names and messages from files reach a terminal as text, never as control sequences."""

from __future__ import annotations

import sys
import unicodedata

# Categories of characters that a terminal obeys or hides: control codes, formats (those that reverse the direction of text
# among them), halves of pairs (how Python keeps bytes that are no UTF-8), separators of lines and paragraphs.
UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
JOINERS = "\u200c\u200d"  # of letters in Persian and Hindi, and of emoji: ordinary text


def printable(text: str) -> str:
    r"""Return `text` in one line, with every unprintable character escaped as Python does: `\x1b`, `\n`, `\u202e`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) for c in text)


def echo(text: str = "", *, lines: bool = False, error: bool = False, end: str = "\n") -> None:
    """Print `text` at once: one line, in which tabs count, or where its line ends are meant, `lines`.

    Args:
        text: with names and messages as they are.
        lines: it has line ends of its own; otherwise one that comes with a name is escaped.
        error: to standard error.
        end: what is printed after it.
    """
    parts = text.split("\n") if lines else [text]
    shown = ["\t".join(map(printable, part.split("\t"))) for part in parts]
    print("\n".join(shown), end=end, file=sys.stderr if error else sys.stdout, flush=True)


def complain(text: str) -> None:
    """Print what is wrong in one line on standard error, whatever line ends came with it."""
    echo(f"calotype: {' '.join(text.split())}", error=True)


def _escaped(c: str) -> str:
    hides = unicodedata.category(c) in UNPRINTABLE and c not in JOINERS
    return c.encode("unicode_escape").decode("ascii") if hides else c

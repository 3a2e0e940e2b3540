"""What is left out of what is passed on to others: absolute paths, names of hosts and users."""

from __future__ import annotations

import contextlib
import getpass
import re
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Begins where a path can: not within a word, a relative path or an address such as https://.
ABSOLUTE_PATH = re.compile(r"""(?<![\w.~:/\\…}-])(?:~\w*/|/|[A-Za-z]:\\)[^\s"'<>|,;:()\[\]{}]+""")
# A text that is a path as a whole, or KEY=PATH: spaces are part of it.
ALONE = re.compile(r"""([\w.@/+~-]+=)?((?:~\w*/|/|[A-Za-z]:\\)[^\n"'<>|,;:]*)""")
NOBODY = ("", "root", "localhost")  # names that tell nobody from another


class Redactor:
    """Takes absolute paths, hosts and users out of texts.

    Args:
        records: of runs, `run.json`; their hosts and working directories are left out wherever they occur.
    """

    def __init__(self, records: Iterable[dict[str, Any]]) -> None:
        folders = {str(Path.home()), str(Path.cwd())}
        names = {socket.gethostname()}
        with contextlib.suppress(KeyError, OSError):  # a process without a user name
            names.add(getpass.getuser())
        for record in records:
            folders.add(str(record.get("cwd") or ""))
            names |= {str(record.get("host") or ""), _user_of(str(record.get("cwd") or ""))}

        self._folders = sorted((one for one in folders if len(one) > 1), key=len, reverse=True)
        known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if name not in NOBODY)
        self._names = re.compile(rf"(?<!\w)(?:{known})(?!\w)") if known else None

    def text(self, text: str) -> str:
        """Return the text; of an absolute path its last part remains, as `…/photo.jpg`."""
        if found := ALONE.fullmatch(text):
            text = (found[1] or "") + _last_part(found[2])
        for folder in self._folders:
            text = text.replace(f"{folder}/", "…/").replace(folder, "…")
        text = ABSOLUTE_PATH.sub(lambda found: _last_part(found[0]), text)
        return text if self._names is None else self._names.sub("…", text)

    def value(self, value: Any) -> Any:
        """Return a plain value with every text in it redacted, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.value(one) for one in value]
        return value


def _last_part(path: str) -> str:
    return "…/" + re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _user_of(folder: str) -> str:
    """Return whose home directory `folder` lies in, or nothing."""
    found = re.match(r"/(?:home|Users)/([^/]+)", folder)
    return found[1] if found else ""

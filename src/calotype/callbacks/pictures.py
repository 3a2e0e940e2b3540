"""Pictures beside the results of a run: one that cannot be drawn is a warning, and the run goes on."""

from __future__ import annotations

import errno
import functools
import warnings
from collections.abc import Callable
from typing import Any

from pytorch_lightning import Callback


class PictureWarning(UserWarning):
    """A picture could not be drawn; metrics and checkpoints are not affected."""


class Pictures(Callback):
    """A callback that draws: whatever goes wrong in its hooks (`on_...`) and in `draw` is a warning of one line.

    A training of hours must not fail at its end by the name of a class, a font or a graphics library. `setup` may still
    refuse options.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, method in list(vars(cls).items()):
            if callable(method) and (name.startswith("on_") or name == "draw"):
                setattr(cls, name, _guarded(method, cls.__name__))


def _guarded(method: Callable[..., None], kind: str) -> Callable[..., None]:
    @functools.wraps(method)
    def guarded(*args: Any, **options: Any) -> None:
        try:
            method(*args, **options)
        except Exception as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise  # the run says so, and is resumed when there is space: a restored image is a picture, too
            reason = " ".join(str(error).split())[:150] or type(error).__name__
            text = f"{kind} could not draw ({type(error).__name__}: {reason}); the run itself is whole"
            # In one line: a file that there is not has no line of source to show.
            warnings.warn_explicit(text, PictureWarning, filename="calotype", lineno=1)

    return guarded

"""The old file stays until the new one is whole, and nothing is left lying beside it."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from calotype.whole_file import whole_file


def test_replaces_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old")
    with whole_file(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_keeps_the_old_one_where_writing_fails(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old")
    with pytest.raises(error):
        _write_half(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a pipe", "link to nowhere"])
def test_a_device_is_not_replaced(kind: str, tmp_path: Path) -> None:
    """A page that was written to /dev/full took the place of the device."""
    path = tmp_path / "a"
    if kind == "folder":
        path.mkdir()
    elif kind == "link to nowhere":
        path.symlink_to("nowhere")
    else:
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to("pipe") if kind == "link to a pipe" else (tmp_path / "pipe").rename(path)
    before = path.lstat()
    with pytest.raises(OSError, match="not replaced"), whole_file(path) as partial:
        partial.write_text("new")
    assert path.lstat() == before


def _write_half(path: Path, error: type[BaseException]) -> None:
    with whole_file(path) as partial:
        partial.write_text("half")
        raise error


def test_a_name_as_long_as_can_be(tmp_path: Path) -> None:
    """The temporary name was longer than a name may be: a result for an image of 250 characters was a traceback."""
    for name in ("n" * 255, "\u732b" * 85):
        with whole_file(tmp_path / name) as partial:
            partial.write_text("new")
        assert (tmp_path / name).read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2


def falls_over_its_own_cleaning(partial: Path) -> None:
    """As matplotlib's PDF, whose stream is half closed."""
    try:
        raise OSError(errno.ENOSPC, "no space", str(partial))
    finally:
        raise AttributeError("no attribute pos")


def raises_its_own_kind(partial: Path) -> None:
    """As torch.save and tifffile."""
    partial.write_bytes(b"part")
    raise RuntimeError("[enforce fail] unexpected pos 576 vs 534")


@pytest.mark.parametrize("write", [falls_over_its_own_cleaning, raises_its_own_kind])
def test_a_full_disk_is_named_whatever_the_writer_raises(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "figure.pdf"
    path.write_text("old")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(OSError, match="No space left on device") as told, whole_file(path) as partial:
        write(partial)
    assert told.value.errno == errno.ENOSPC
    assert told.value.filename == str(path)
    assert [one.name for one in tmp_path.iterdir()] == ["figure.pdf"]
    assert path.read_text() == "old"
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="enforce fail"), whole_file(path) as partial:  # the disk has room: a fault of the program
        raises_its_own_kind(partial)

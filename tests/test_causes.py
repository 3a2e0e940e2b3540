from __future__ import annotations

from calotype.causes import causes, is_interruption


def test_a_chain_is_followed() -> None:
    disk, writer = OSError("disk"), ValueError("writer")
    writer.__cause__ = disk
    assert list(causes(writer)) == [writer, disk]


def test_a_chain_that_leads_back_ends() -> None:
    """What is raised again within the handling of what it caused: the end of a run looked for its cause for ever."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__context__ = second, first
    assert [str(one) for one in causes(first)] == ["first", "second"]


def test_an_interruption_is_known_by_what_an_error_came_of() -> None:
    writer = RuntimeError("unexpected pos 64 vs 0")
    assert not is_interruption(writer)
    writer.__context__ = KeyboardInterrupt()
    assert is_interruption(writer)
    assert is_interruption(SystemExit(1))

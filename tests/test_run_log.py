from __future__ import annotations

import io

from calotype.run_log import Copied


def test_the_end_of_a_copy_is_not_that_of_the_stream() -> None:
    """From Python 3.13 on it was an error that nothing catches where the stream had been closed before."""
    stream, log = io.StringIO(), io.StringIO()
    Copied(stream, log).close()
    assert not stream.closed
    copied = Copied(stream, log)
    copied.write("a line\n")
    assert (stream.getvalue(), log.getvalue()) == ("a line\n", "a line\n")
    stream.close()
    copied.close()

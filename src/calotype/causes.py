"""What an error came from."""

from __future__ import annotations

from collections.abc import Iterator


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it came from, each once: a chain leads back where an error was raised from one that it caused."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__


def is_interruption(error: BaseException) -> bool:
    """Whether an error is an interruption, or came of one: torch.save, for one, fails by an error of its own when it is interrupted."""
    return any(isinstance(cause, KeyboardInterrupt | SystemExit) for cause in causes(error))

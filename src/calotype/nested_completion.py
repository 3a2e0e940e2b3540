"""Completion of options in folders, `experiment=gan/mnist`, of which Hydra's own completion knows nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.plugins.completion_plugin import CompletionPlugin


@contextlib.contextmanager
def nested_completion() -> Iterator[None]:
    """Within it, Hydra completes `experiment=` by the folders of options, and `experiment=gan/` by what is in one."""
    asked = CompletionPlugin._query_config_groups

    def query(self: Any, word: str, config_name: str | None, words: list[str]) -> tuple[list[str], bool]:
        if "=" not in word:
            return asked(self, word, config_name, words)
        matches = [name for name in _options(self.config_loader, word, config_name, words) if name.startswith(word)]
        return matches, bool(matches)

    CompletionPlugin._query_config_groups = query  # type: ignore[method-assign]
    try:
        yield
    finally:
        CompletionPlugin._query_config_groups = asked  # type: ignore[method-assign]


def _options(loader: Any, word: str, config_name: str | None, words: list[str]) -> Iterator[str]:
    """Yield the options, and the folders of options, that lie where `word` has come to."""
    start, _, value = word.partition("=")
    group = start.lstrip("+~").partition("@")[0]
    folder = value.rpartition("/")[0]
    parent = f"{group}/{folder}" if folder else group

    for kind, end in ((ObjectType.CONFIG, ""), (ObjectType.GROUP, "/")):
        for name in loader.get_group_options(parent, kind, config_name=config_name, overrides=words):
            yield f"{start}={folder}/{name}{end}" if folder else f"{start}={name}{end}"

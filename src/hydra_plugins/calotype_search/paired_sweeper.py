"""Grids of settings: all combinations, and some that change together, which Hydra's own sweeper has no word for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.grammar.utils import escape_special_characters
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException

from calotype.types import UserError


class GridSweeper(BasicSweeper):
    """Hydra's own, but that a job is given an override that refers to another key (`name=run${seed}`) as it was typed.

    Hydra's writes the braces of `${seed}` with backslashes, which in `${oc.env:NAME,'a b'}` is not read back.
    """

    paired: Sequence[str] = ()

    def split_arguments(self, overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:  # type: ignore[override]
        jobs = paired_jobs(overrides, self.paired)
        return [list(batch) for batch in self.split_overrides_to_chunks(jobs, max_batch_size)]

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Hydra composes every job here, as `calotype.sweep.look_ahead` has done, which checks it as well."""


class PairedSweeper(GridSweeper):
    """`model=mlp,small_resnet optimizer.lr=1e-2,1e-3 seed=0,1` with paired=[model,optimizer.lr] are 4 runs: (2 together) x 2 seeds.

    Args:
        paired: settings of as many values each; the first values go together, the second, and so on. The others are crossed, as ever.
        max_batch_size, params: as Hydra's own.
    """

    def __init__(self, paired: Sequence[str], max_batch_size: int | None = None, params: object = None) -> None:
        super().__init__(max_batch_size, params)  # type: ignore[arg-type]
        self.paired = list(paired)


def paired_jobs(overrides: Sequence[Override], paired: Sequence[str]) -> list[list[str]]:
    """The overrides of each job.

    Raises:
        UserError: a paired setting is not given, or has another number of values.
    """
    together = [one for one in overrides if one.key_or_group in paired and one.is_sweep_override()]
    if missing := set(paired) - {one.key_or_group for one in together}:
        raise UserError(f"hydra.sweeper.paired: no values are given for {', '.join(sorted(missing))}")
    values = [_texts(one) for one in together]
    if len({len(column) for column in values}) > 1:
        counts = ", ".join(f"{one.key_or_group} {len(column)}" for one, column in zip(together, values, strict=True))
        raise UserError(f"hydra.sweeper.paired: as many values of each, not {counts}")
    columns = {one.get_key_element(): _texts(one) for one in overrides if one not in together}  # of a key given twice, the last
    crossed = list(product(*([f"{key}={text}" for text in texts] for key, texts in columns.items())))
    steps = [[f"{one.get_key_element()}={value}" for one, value in zip(together, row, strict=True)] for row in zip(*values, strict=True)]
    return [[*step, *job] for step in steps or [[]] for job in crossed]


def _texts(override: Override) -> list[str]:
    """Return the values of an override, one for each job, in Hydra's grammar."""
    if not override.is_sweep_override():
        return [_text(override._value)]
    if not override.is_discrete_sweep():
        assert override.value_type is not None
        raise HydraException(f"{override.input_line}: a grid takes no {override.value_type.name.lower()}; hydra/sweeper=search does")
    return [str(one) for one in override.sweep_iterator(transformer=_text)]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{_text(key)}:{_text(one)}' for key, one in value.items())}}}"
    if isinstance(value, str) and not isinstance(value, QuotedString) and "${" in value and "\\$" not in value:
        return "".join(part if part.startswith("${") else escape_special_characters(part) for part in _split(value))
    return Override._get_value_element_as_str(value)


def _split(text: str) -> Iterator[str]:
    """Cut a text before and after each `${...}`, which may hold further ones."""
    while text:
        start = text.find("${")
        if start != 0:
            end = start if start > 0 else len(text)
        else:
            depth, end = 0, len(text)
            for i, character in enumerate(text):
                depth += (character == "{") - (character == "}")
                if character == "}" and depth == 0:
                    end = i + 1
                    break
        yield text[:end]
        text = text[end:]

"""A sweep in which some settings change together, which Hydra's own has no word for."""

from __future__ import annotations

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override

from calotype.types import UserError


class PairedSweeper(BasicSweeper):
    """`model=mlp,small_resnet optimizer.lr=1e-2,1e-3 seed=0,1` with paired=[model,optimizer.lr] are 4 runs: (2 together) x 2 seeds.

    Args:
        paired: settings of as many values each; the first values go together, the second, and so on. The others are crossed, as ever.
        max_batch_size, params: as Hydra's own.
    """

    def __init__(self, paired: Sequence[str], max_batch_size: int | None = None, params: object = None) -> None:
        super().__init__(max_batch_size, params)  # type: ignore[arg-type]
        self.paired = list(paired)

    def split_arguments(self, overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:  # type: ignore[override]
        return [paired_jobs(overrides, self.paired)]


def paired_jobs(overrides: Sequence[Override], paired: Sequence[str]) -> list[list[str]]:
    """The overrides of each job.

    Raises:
        UserError: a paired setting is not given, or has another number of values.
    """
    together = [one for one in overrides if one.key_or_group in paired and one.is_sweep_override()]
    if missing := set(paired) - {one.key_or_group for one in together}:
        raise UserError(f"hydra.sweeper.paired: no values are given for {', '.join(sorted(missing))}")
    values = [list(one.sweep_string_iterator()) for one in together]
    if len({len(column) for column in values}) > 1:
        counts = ", ".join(f"{one.key_or_group} {len(column)}" for one, column in zip(together, values, strict=True))
        raise UserError(f"hydra.sweeper.paired: as many values of each, not {counts}")
    rest = [one for one in overrides if one not in together]
    crossed = BasicSweeper.split_arguments(list(rest), None)[0]
    steps = [[f"{one.get_key_element()}={value}" for one, value in zip(together, row, strict=True)] for row in zip(*values, strict=True)]
    return [[*step, *job] for step in steps or [[]] for job in crossed]

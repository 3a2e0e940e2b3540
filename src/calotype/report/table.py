"""Tables over runs: a row for each setting, mean and spread over its seeds, in several forms."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from calotype.building import shortened
from calotype.check import nearest
from calotype.console import printable
from calotype.report.runs import Row, Run, rows
from calotype.report.statistics import Summary, holm, paired_p, summary
from calotype.types import OptionError

# Shown where none are asked for, those that a run has.
MAIN = {
    "classification": ("test/accuracy", "test/balanced_accuracy"),
    "siamese": ("test/accuracy", "test/eer"),
    "facenet": ("test/eer", "test/rank1", "test/tar_at_far_1e-2"),
    "dip": ("psnr_at_stop", "psnr_peak", "ssim_at_stop"),
    "style_transfer": ("patch_distance", "ssim_content"),
    "fast_style": ("patch_distance", "ssim_content"),
    "gan": ("test/modes", "test/high_quality", "test/classifier_score", "test/coverage"),
    "cgan": ("test/condition_accuracy", "test/coverage", "test/few_real_accuracy", "test/augmented_accuracy"),
    "translation": ("test/psnr", "test/input_psnr", "test/ssim"),
    "cyclegan": ("test/psnr", "test/ssim"),
    "pixelcnn": ("test/nll_nats", "test/bits_per_dim"),
}
LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {c: rf"\{c}" for c in "_%&#${}"}
)
MOST = 4  # metrics of a task that is not named above


@dataclass(frozen=True)
class Table:
    """Of one task.

    Attributes:
        task: its name.
        metrics: the columns.
        rows: in order.
        cells: a summary for each row and metric.
        p: for each row and metric the paired test against the baseline, corrected; NaN in the baseline's own row. None without a baseline.
        baseline: in words.
    """

    task: str
    metrics: tuple[str, ...]
    rows: list[Row]
    cells: list[list[Summary]]
    p: list[list[float]] | None
    baseline: str = ""


def make_table(task: str, runs: Sequence[Run], metrics: Sequence[str] = (), baseline: Mapping[str, str] | None = None) -> Table:
    """Of the runs of one task.

    Args:
        task: its name.
        runs: of it, finished or not.
        metrics: the columns; those that matter most by default.
        baseline: settings of the row that the others are compared with, over the seeds that both have; of several such rows each other
            one is compared with that which has its remaining settings. The p values of a metric are corrected for as many comparisons as
            there are (Holm).

    Raises:
        UserError: no run has a metric; the baseline is no row, or several of which none has the remaining settings of another row.
    """
    known = sorted({name for run in runs for name, value in run.metrics.items() if value is not None})
    for name in metrics:
        if name not in known:
            there = shortened(", ".join(known), 70) or "none"
            raise OptionError(
                f"--metrics {shortened(name, 60)}: no run of task {task} has it{nearest(name, known, most=3)} (there are: {there})"
            )
    chosen = tuple(metrics) or main_metrics(task, known)
    table = rows(runs)
    cells = [[summary(list(row.figures(name).values())) for name in chosen] for row in table]
    p, against = None, ""
    if baseline is not None:
        bases = _baselines(table, baseline)
        against = " ".join(f"{key}={value}" for key, value in baseline.items())
        if any(base is not bases[0] for base in bases):
            against += ", each row against the one that agrees with it in all else"
        pairs = list(zip(bases, table, strict=True))
        columns = [
            holm([math.nan if row is base else paired_p(base.figures(name), row.figures(name)) for base, row in pairs]) for name in chosen
        ]
        p = [list(values) for values in zip(*columns, strict=True)] if columns else [[] for _ in table]
    return Table(task, chosen, table, cells, p, against)


def split_names(text: str, known: Container[str]) -> list[str]:
    """Return the names of a list that commas separate; a name that is known may hold commas itself.

    Raises:
        UserError: the list is empty.
    """
    parts = text.split(",")
    names = []
    while parts:
        count = next((n for n in range(len(parts), 0, -1) if ",".join(parts[:n]) in known), 1)
        names.append(",".join(parts[:count]))
        parts = parts[count:]
    names = list(dict.fromkeys(name for name in names if name.strip()))
    if not names:
        raise OptionError("--metrics: names of metrics belong there, as test/accuracy,test/loss")
    return names


def main_metrics(task: str, known: Iterable[str]) -> tuple[str, ...]:
    """Of those that there are: what matters most to the task, else the first few of the test."""
    names = sorted(known)
    tested = [name for name in names if name.startswith("test/")]
    return tuple(name for name in MAIN.get(task, ()) if name in names) or tuple((tested or names)[:MOST])


def text(table: Table, form: str) -> str:
    """`terminal`, `csv`, `markdown` or `latex`; without a line end after the last line."""
    if form == "csv":
        return _csv(table)
    head, body = grid(table)
    note, task = printable(_note(table)), printable(table.task)
    if form == "markdown":
        lines = ["| " + " | ".join(line) + " |" for line in ([cell.replace("|", "\\|") for cell in row] for row in [head, *body])]
        return "\n".join([f"**{task}**", "", lines[0], "|" + "---|" * len(head), *lines[1:], *(["", note] if note else [])])
    if form == "latex":
        lines = [" & ".join(_escaped(cell) for cell in row) + r" \\" for row in [head, *body]]
        columns = "l" * len(_settings(table)) + "r" * (len(head) - len(_settings(table)) - 1) + "l"
        told = [f"% {note}"] if note else []
        start = [rf"% {task}; needs the package booktabs", *told, rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
        return "\n".join([*start, lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}"])
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    aligned = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *body]]
    return "\n".join([task, *(f"  {line}" for line in [*aligned, note] if line)])


def _note(table: Table) -> str:
    """What its numbers are, where there are several seeds."""
    if not any(cell.n > 1 for cells in table.cells for cell in cells):
        return ""
    told = "Mean ± standard deviation over seeds, and the mean's 95 % interval (Student's t)."
    if table.p is None:
        return told
    return f"{told} p: paired t-test over seeds against {table.baseline}; corrected (Holm) for the comparisons of a metric."


def grid(table: Table) -> tuple[list[str], list[list[str]]]:
    """Head and rows, in words: mean ± standard deviation [95 % interval], p where there is a baseline."""
    keys = _settings(table)
    head = [*(keys or ["runs"])]
    for name in table.metrics:
        head += [name, "95 %"] + (["p"] if table.p is not None else [])
    head += ["n", "notes"]
    body = []
    for i, (row, cells) in enumerate(zip(table.rows, table.cells, strict=True)):
        line = [row.settings.get(key, "") for key in keys] if keys else [row.label]
        for j, cell in enumerate(cells):
            line += [_mean(cell), "" if math.isnan(cell.sd) else f"{_number(cell.low)} to {_number(cell.high)}"]
            if table.p is not None:
                p = table.p[i][j]
                line.append("" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}")
        ns = sorted({cell.n for cell in cells})
        body.append([*line, "/".join(map(str, ns)), "; ".join(row.notes)])
    return [printable(cell) for cell in head], [[printable(cell) for cell in line] for line in body]


def _csv(table: Table) -> str:
    keys = _settings(table)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["task", *keys]
    for name in table.metrics:
        head += [name, f"{name} sd", f"{name} low", f"{name} high", f"{name} n"] + ([f"{name} p"] if table.p is not None else [])
    writer.writerow([printable(cell) for cell in [*head, "notes"]])
    for i, (row, cells) in enumerate(zip(table.rows, table.cells, strict=True)):
        line: list[object] = [printable(table.task), *(printable(row.settings.get(key, "")) for key in keys)]
        for j, cell in enumerate(cells):
            line += ["" if isinstance(value, float) and math.isnan(value) else value for value in cell]
            if table.p is not None:
                line.append("" if math.isnan(table.p[i][j]) else table.p[i][j])
        writer.writerow([*line, printable("; ".join(row.notes))])
    return out.getvalue().rstrip("\n")


def _settings(table: Table) -> list[str]:
    return list(dict.fromkeys(key for row in table.rows for key in row.settings))


def _baselines(table: Sequence[Row], wanted: Mapping[str, str]) -> list[Row]:
    """What each row is compared with."""
    keys = dict.fromkeys(key for row in table for key in row.settings)
    for key in wanted:
        if key not in keys:
            raise OptionError(
                f"--baseline {key}: no row has that setting{nearest(key, keys)} (there are: {shortened(', '.join(keys), 90) or 'none'})"
            )
    bases = [row for row in table if all(row.settings.get(key, "") == value for key, value in wanted.items())]
    if len(bases) == 1:
        return bases * len(table)
    remaining = [key for key in keys if key not in wanted and not _goes_with(key, wanted, table)]
    by_rest = {tuple(base.settings.get(key, "") for key in remaining): base for base in bases}
    found = [by_rest.get(tuple(row.settings.get(key, "") for key in remaining)) for row in table]
    alone = [row.label for row, base in zip(table, found, strict=True) if base is None]
    if alone or not wanted:
        told = " ".join(f"{key}={value}" for key, value in wanted.items())
        count = (
            f"{len(bases)} rows of that setting{f', none like {alone[0]}' if alone and bases else ''}"
            if bases
            else "no row of that setting"
        )
        raise OptionError(f"--baseline {told}: {count}; rows: {shortened('; '.join(row.label for row in table), 90)}")
    return [base for base in found if base is not None]


def _goes_with(key: str, others: Iterable[str], table: Sequence[Row]) -> bool:
    """Whether a setting always changes together with others, as in a paired sweep."""
    values = {(tuple(row.settings.get(other, "") for other in others), row.settings.get(key, "")) for row in table}
    return len(values) == len({first for first, _ in values})


def _mean(cell: Summary) -> str:
    if cell.n == 0:
        return ""
    return _number(cell.mean) if math.isnan(cell.sd) else f"{_number(cell.mean)} ± {_number(cell.sd)}"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"


def _escaped(cell: str) -> str:
    return cell.translate(LATEX)

"""Figures for a paper: curves with bands, a plot for each swept factor, parallel coordinates; each as SVG and PDF."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from calotype.callbacks.words import readable, words
from calotype.report.curves import Points, read_curves
from calotype.report.runs import Row, Run, by_size
from calotype.report.statistics import summary
from calotype.report.table import Table
from calotype.whole_file import whole_file

FORMS = ("svg", "pdf")
MAX_NAME = 60  # characters of a file's name, at most four bytes each
MOST_ROWS = 10  # whose curves can be told apart
# Okabe and Ito's, which eyes that do not tell red from green do tell apart, and two more
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a8a00", "#7f3f98", "#7a7a7a")


def write_figures(folder: Path, table: Table) -> list[Path]:
    """All that its rows give something for, below `folder`; the files' names start with the task's."""
    made: dict[str, Figure] = {}
    for name in _curve_names(table):
        made[f"curve_{name}"] = curves(table.rows, name)
    for metric in table.metrics:
        for key in _swept(table):
            made[f"{key}_{metric}"] = factor(table, key, metric)
        if len(_swept(table)) > 1 and len(table.rows) > 3:
            made[f"parallel_{metric}"] = parallel(table, metric)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, figure in made.items():
        stem = _file_name(f"{table.task}_{name}", {path.stem for path in written})
        for form in FORMS:
            path = folder / f"{stem}.{form}"
            with whole_file(path) as partial:
                readable(figure)
                figure.savefig(partial, format=form, bbox_inches="tight")
            written.append(path)
    return written


def _file_name(name: str, taken: set[str]) -> str:
    """Return a name of letters, digits, points, dashes and underscores that is not taken yet."""
    plain = re.sub(r"[^\w.-]", "-", name)[:MAX_NAME].lstrip(".")
    numbers = (plain, *(f"{plain}-{i}" for i in range(2, len(taken) + 3)))
    return next(one for one in numbers if one not in taken)


def curves(rows: Sequence[Row], name: str) -> Figure:
    """A line for each of the first rows, the mean over its seeds at steps that all have, and a band of one standard deviation each way."""
    figure, axes = _axes("training step", name)
    which = f", the first {MOST_ROWS} of {len(rows)} rows" if len(rows) > MOST_ROWS else ""
    axes.set_title(f"mean ± standard deviation over seeds{which}", fontsize=8)
    for row, colour in zip(rows[:MOST_ROWS], COLOURS, strict=False):
        steps, mean, sd = _band([_read(run, name) for run in row.runs])
        if len(steps):
            axes.plot(steps, mean, color=colour, label=row.label, marker="o" if len(steps) == 1 else None)
            axes.fill_between(steps, mean - sd, mean + sd, color=colour, alpha=0.2, linewidth=0)
    axes.legend(fontsize=7, frameon=False)
    return figure


def factor(table: Table, key: str, metric: str) -> Figure:
    """The metric over the values of one setting, mean and 95 % interval; rows that agree in all other settings are joined."""
    figure, axes = _axes(key, metric)
    axes.set_title("mean and its 95 % interval over seeds", fontsize=8)
    values = list(dict.fromkeys(row.settings.get(key, "") for row in table.rows))
    groups: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in table.rows:
        groups.setdefault(tuple((k, v) for k, v in row.settings.items() if k != key), []).append(row)
    for i, (others, rows) in enumerate(groups.items()):
        told = [(values.index(row.settings.get(key, "")), summary(list(row.figures(metric).values()))) for row in rows]
        told = sorted((x, cell) for x, cell in told if cell.n)
        if not told:
            continue
        places = np.array([x for x, _ in told]) + 0.06 * (i - (len(groups) - 1) / 2)  # beside one another
        means = np.array([cell.mean for _, cell in told])
        halves = np.nan_to_num([cell.high - cell.mean for _, cell in told])
        label = " ".join(f"{k}={v}" for k, v in others if v)
        axes.errorbar(places, means, yerr=halves, marker="o", capsize=3, color=COLOURS[i % len(COLOURS)], label=label or None)
    names, style = words(*(value or "(default)" for value in values))
    axes.set_xticks(range(len(values)), names, **style)
    if any(groups) and len(groups) <= MOST_ROWS:
        axes.legend(fontsize=7, frameon=False)
    return figure


def parallel(table: Table, metric: str) -> Figure:
    """An axis for each setting and one for the metric, a line for each row, coloured by the metric: for searches."""
    keys = _swept(table)
    figure, axes = _axes("", "")
    columns = []
    for i, key in enumerate(keys):
        column = [row.settings.get(key, "") for row in table.rows]
        ticks = sorted(set(column), key=by_size)
        columns.append([ticks.index(value) / max(1, len(ticks) - 1) for value in column])
        for j, tick in enumerate(ticks):
            axes.annotate(tick or "(default)", (i, j / max(1, len(ticks) - 1)), xytext=(4, 2), textcoords="offset points", fontsize=7)
    means = np.array([summary(list(row.figures(metric).values())).mean for row in table.rows])
    low, high = (float(f(means)) if np.isfinite(means).any() else 0.0 for f in (np.nanmin, np.nanmax))
    scaled = (means - low) / ((high - low) or 1.0)
    for y, line in zip(scaled, zip(*columns, strict=True), strict=True):
        if math.isfinite(y):
            axes.plot(range(len(keys) + 1), [*line, y], color=(0.85 - 0.85 * y, 0.45, 0.1 + 0.6 * y), linewidth=1.2)
    for share in (0.0, 0.5, 1.0):
        value = f"{low + share * (high - low):.4g}"
        axes.annotate(value, (len(keys), share), xytext=(4, 2), textcoords="offset points", fontsize=7)
    names, style = words(*keys, metric)
    axes.set_xticks(range(len(keys) + 1), names, rotation=15, **style)
    axes.set_yticks([])
    for i in range(len(keys) + 1):
        axes.axvline(i, color="#999999", linewidth=0.8)
    axes.spines[["left", "bottom"]].set_visible(False)
    return figure


def _axes(x: str, y: str):  # type: ignore[no-untyped-def]
    figure = Figure(figsize=(4.6, 3.1))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _swept(table: Table) -> list[str]:
    """Settings of several values."""
    keys = dict.fromkeys(key for row in table.rows for key in row.settings)
    return [key for key in keys if len({row.settings.get(key, "") for row in table.rows}) > 1]


def _curve_names(table: Table) -> list[str]:
    """The losses, and what validation has of the table's metrics."""
    run = next((row.runs[0] for row in table.rows if row.runs), None)
    if run is None:
        return []
    wanted = {
        "train/loss",
        "val/loss",
        "train/d_loss",
        "train/g_loss",
        "train/bits_per_dim",
        *(f"val/{name.partition('/')[2]}" for name in table.metrics),
    }
    return [name for name in sorted(_points(run.folder)) if name in wanted]


def _read(run: Run, name: str) -> Points:
    return _points(run.folder).get(name, {})


_points = cache(read_curves)


def _band(seeds: Sequence[Points]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, mean, standard deviation; 0 of a single seed."""
    shared = sorted(set.intersection(*(set(points) for points in seeds))) if seeds else []
    values = np.array([[points[step] for step in shared] for points in seeds]).reshape(len(seeds), len(shared))
    sd = values.std(0, ddof=1) if len(seeds) > 1 else np.zeros(len(shared))
    return np.array(shared), values.mean(0) if len(seeds) else np.zeros(0), sd

"""The gallery page: one HTML file that opens from disk and asks nothing of a network."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from calotype.console import complain
from calotype.images import open_image
from calotype.report.curves import read_curves
from calotype.report.markup import content_security_policy, fill, script_json, text
from calotype.report.redaction import Redactor
from calotype.report.runs import Run
from calotype.report.table import Table, grid, main_metrics
from calotype.schema import flat
from calotype.types import UserError
from calotype.whole_file import whole_file

WHOLE = 13_000_000  # bytes of all pictures, before base64 makes them a third larger
MOST = 400_000  # bytes of one run's pictures, where there are few runs
SIDES = ((100_000, 720), (40_000, 480), (0, 320))  # bytes there are for a run, and the longest side of its pictures in pixels
THUMBNAIL = 192
FRAMES, FRAME = 24, 240  # of a film: how many at most, and their longest side
POINTS = 60  # of a curve
# What is looked at first; the others follow by name.
FIRST = (
    "comparison.png", "translations.png", "samples.png", "result.png", "restored.png", "observed.png", "content.png", "completions.png",
    "nearest.png", "mistakes.png", "confusion_matrix.png", "roc.png",
)  # fmt: skip


def write_page(path: Path, runs: Sequence[Run], tables: Sequence[Table], *, redactor: Redactor | None = None) -> None:
    """Write the page of all `runs`.

    Pictures are made smaller until all of them fit into some 20 MB, and those of one run that do not fit are left out.

    Args:
        redactor: takes out of the texts what is not to be passed on.
    """
    budget = min(MOST, WHOLE // max(1, len(runs)))
    with ThreadPoolExecutor() as pool:  # Pillow lets other threads work while it decodes
        told = list(pool.map(lambda run: _texts(run, redactor) | _images(run, budget), runs))

    template = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    values = {
        "policy": content_security_policy(template),
        "tables": "".join(_html(table, redactor) for table in tables),
        "runs": script_json(told),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_text(fill(template, values), encoding="utf-8")


def _texts(run: Run, redactor: Redactor | None) -> dict[str, Any]:
    """What the page's script reads of a run, but for the pictures."""
    config = run.config if redactor is None else redactor.value(run.config)
    texts = {
        "folder": str(run.folder),
        "task": run.task,
        "name": str(run.config.get("name", "")),
        "seed": run.seed,
        "status": run.status,
        "start": str(run.record.get("start", ""))[:19].replace("T", " "),
        "seconds": run.record.get("wall_seconds"),
        "overrides": [str(o) for o in run.record.get("overrides", [])],
        "error": run.record.get("error"),
        "alarms": [str(alarm) for alarm in run.record.get("alarms") or []],
        "metrics": dict(sorted(run.metrics.items())),
        "figure": next(iter(main_metrics(run.task, run.metrics)), None),
        "settings": {key: str(value) for key, value in flat(run.config).items() if not key.startswith(("paths.", "logger"))},
        "config": yaml.dump(config, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False),
        "curves": _curves(run.folder),
    }
    return texts if redactor is None else redactor.value(texts)


def _images(run: Run, budget: int) -> dict[str, Any]:
    """The pictures of a run, as data: URIs."""
    pictures, film = _pictures(run.folder / "images", budget)
    return {"thumbnail": _thumbnail(run.folder / "images"), "pictures": pictures, "film": film}


def _pictures(folder: Path, budget: int) -> tuple[list[dict[str, str]], str | None]:
    """Those that fit, the most telling ones first, and the film in what they leave."""
    side = next(side for least, side in SIDES if budget >= least)
    files = sorted(folder.glob("*.png"), key=lambda file: (FIRST.index(file.name) if file.name in FIRST else len(FIRST), file.name))
    found: list[dict[str, str]] = []
    for file in files:
        if file.name == "curves.png":  # the page draws them itself
            continue
        small = _small(file, side, is_named=True)
        if small is None or len(small) > budget:
            continue
        budget -= len(small)
        found.append({"name": file.stem, "data": _uri(small)})
    film = _film(sorted((folder / "film").glob("*.png"))) if budget > 20_000 else None
    return found, _uri(film) if film is not None and len(film) <= budget else None


def _small(file: Path, side: int, *, is_named: bool = False) -> bytes | None:
    """WebP, no longer than `side`; None where the file is no image, which is printed where it `is_named`."""
    image = _shrunk(file, side, is_named=is_named)
    if image is None:
        return None
    out = io.BytesIO()
    image.save(out, "webp", quality=80, method=2)
    return out.getvalue()


def _shrunk(file: Path, side: int, *, is_named: bool = False) -> Image.Image | None:
    """In colour, no longer than `side`; None where the file is no image, or a damaged one: the page is made without it."""
    try:
        with open_image(file) as opened:
            factor = max(opened.size) // (2 * side)
            image = (opened.reduce(factor) if factor > 1 else opened).convert("RGB")
    except UserError as error:
        if is_named:
            complain(f"left out of the page: {error}")
        return None
    image.thumbnail((side, side))
    return image


def _thumbnail(folder: Path) -> str | None:
    for name in (*FIRST, "curves.png"):
        if (folder / name).is_file() and (small := _small(folder / name, THUMBNAIL)) is not None:
            return _uri(small)
    return None


def _film(files: list[Path]) -> bytes | None:
    """An animated WebP of at most 24 of the frames, the last of them among these."""
    if len(files) < 2:
        return None
    step = math.ceil(len(files) / FRAMES)
    chosen = sorted({*files[::step], files[-1]})
    frames = [frame for file in chosen if (frame := _shrunk(file, FRAME, is_named=True)) is not None]
    if len(frames) < 2:
        return None
    out = io.BytesIO()
    frames[0].save(out, "webp", save_all=True, append_images=frames[1:], duration=180, loop=0, quality=70, method=2)
    return out.getvalue()


def _uri(image: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(image).decode()


def _curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Name to (step, value), thinned."""
    curves = {name: list(points.items()) for name, points in sorted(read_curves(folder).items())}
    return {name: [(step, _rounded(value)) for step, value in thinned(points)] for name, points in curves.items() if len(points) > 1}


def thinned(points: Sequence[tuple[int, float]], count: int = POINTS) -> list[tuple[int, float]]:
    """Return some `count` of the (step, value) evenly, and always the first, the last, the least and the greatest."""
    values = [value for _, value in points]
    extremes = {values.index(min(values)), values.index(max(values)), len(points) - 1}
    return [points[i] for i in sorted({*range(0, len(points), math.ceil(len(points) / count)), *extremes})]


def _rounded(value: float) -> float:
    """To five digits, unless that is more than the largest number."""
    rounded = float(f"{value:.5g}")
    return rounded if math.isfinite(rounded) else value


def _html(table: Table, redactor: Redactor | None) -> str:
    head, body = grid(table)
    if redactor is not None:
        head, body = redactor.value(head), redactor.value(body)
    cells = "".join(f"<th scope=col>{text(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in body)
    caption = text(table.task)
    return f"<div class=wide><table><caption>{caption}</caption><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table></div>"

"""Damage the files of run folders and see that every command names the run in one line: no traceback, no hang, no silence.

python tests/fuzz/damaged_runs.py --files 2000 --seed 0
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import yaml

FILES = ("run.json", "metrics.json", "metrics.csv", "config.yaml")
SECONDS = 20  # after which a command hangs
RUN = [
    "experiment=classification/digits",
    "trainer.max_epochs=2",
    "model.widths=[4]",
    "hardware=cpu",
    "hardware.num_threads=1",
    "logger=none",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "~callbacks.pictures",
    "seed=0",
]
VALUES: list[Any] = [
    None, True, -1, 0, 3, 10**40, 1e300, -0.0, float("nan"), float("inf"), "", "a", "\x00", "\ud800", "../../x", "${oc.env:HOME}",
    "${", [], [1], [None], ["a", ["b"]], {}, {"a": 1}, {"": None}, {"_target_": "a"}, "<b>", "$x$", "2026-13-45", "a" * 5000,
]  # fmt: skip


class Outcome(NamedTuple):
    """Of one command over one damaged run: `named`, `silent`, `harmless` (the file says the same), `traceback`, `hang` or `lines`."""

    kind: str
    told: str


class Reached(BaseException):
    """A command got past all checks: it would train now."""


class Hangs(BaseException):
    pass


# Damages. Each changes the bytes of a file, or puts something else in its place.


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def replace_bytes(data: bytes, rng: random.Random) -> bytes:
    start, count = rng.randrange(len(data)), rng.randint(1, 8)
    return data[:start] + rng.randbytes(count) + data[start + count :]


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def leave_out(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randint(1, 40) :]


def swap_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return b"".join(lines)


def no_text(data: bytes, rng: random.Random) -> bytes:
    return rng.choice([data.decode().encode("utf-16"), b"\xff\xfe" + data, rng.randbytes(200), b"\x00" * len(data), data + b"\xe9"])


def something_else(data: bytes, rng: random.Random) -> bytes:
    return rng.choice([b"{}", b"[]", b"null", b"3", b'"a"', b"[" * 100_000, b"{" * 5000, b"a: " * 2000, b"- " * 3000, b"&a [*a]", b"\n"])


def change_value(data: bytes, rng: random.Random, name: str) -> bytes:
    """Another type or number at any key."""
    if name == "metrics.csv":
        rows = data.decode().splitlines()
        cells = rows[(i := rng.randrange(len(rows)))].split(",")
        cells[rng.randrange(len(cells))] = rng.choice(["", "nan", "inf", "1e999", "-1", "9" * 30, "a", '"', "é", "\x00", "1;2"])
        rows[i] = ",".join(cells)
        return "\n".join([*rows, ""]).encode()
    value = json.loads(data) if name.endswith("json") else yaml.safe_load(data)
    node, key = rng.choice(list(_places(value)))
    if rng.random() < 0.15:
        del node[key]
    else:
        node[key] = rng.choice(VALUES)
    if name.endswith("json"):
        return json.dumps(value, indent=2).encode()
    return yaml.safe_dump(value, sort_keys=False).encode("utf-8", "surrogatepass")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield value, key
        yield from _places(one)


BYTES = (flip_bits, replace_bytes, truncate, leave_out, swap_lines, no_text, something_else)


def damage(folder: Path, name: str, rng: random.Random) -> str:
    """Damage one file of a run; what was done to it."""
    path, chance = folder / name, rng.random()
    data = path.read_bytes()
    if chance < 0.04:
        path.unlink()
        kind = rng.choice(["folder", "link to itself", "pipe", "link to a folder"])
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(path if kind == "link to itself" else folder)
        return f"{name}: {kind}"
    if chance < 0.4:
        changed, how = change_value(data, rng, name), "change_value"
    else:
        way = rng.choice(BYTES)
        changed, how = way(data, rng), way.__name__
    path.write_bytes(changed)
    return f"{name}: {how}"


# Commands.


def commands(good: Path, bad: Path, scratch: Path) -> dict[str, Callable[[], None]]:
    """Every command that reads a run folder, on `bad`, in this process; those that would train end with Reached."""
    from calotype import rerun, runner
    from calotype.cli import main
    from calotype.cli_apply import apply_main
    from calotype.cli_report import report_main, rerun_main

    def reached(*_: Any, **__: Any) -> None:
        raise Reached

    def reruns() -> None:
        with mock.patch.object(rerun, "launch", reached):
            rerun_main([str(bad), "--out", str(scratch / "again")])

    def resumes() -> None:
        with mock.patch.object(runner, "_record", reached):
            main([f"resume={bad}", "trainer.max_epochs=3"])

    both = [str(good), str(bad)]
    picture = str(good.parent / "picture.png")
    return {
        "table": lambda: report_main(both),
        "csv": lambda: report_main([*both, "--form", "csv"]),
        "markdown": lambda: report_main([*both, "--form", "markdown"]),
        "latex": lambda: report_main([*both, "--form", "latex"]),
        "page": lambda: report_main([*both, "--page", str(scratch / "page.html")]),
        "share": lambda: report_main([*both, "--page", str(scratch / "page.html"), "--share"]),
        "figures": lambda: report_main([*both, "--figures", str(scratch / "figures")]),
        "battle": lambda: report_main(["battle", *both]),
        "rerun": reruns,
        "apply": lambda: apply_main([str(bad), "classify", picture]),
        "resume": resumes,
        "bundle": lambda: report_main([str(bad), "--bundle", str(scratch / "bundle.zip")]),
    }


def run_command(command: Callable[[], None]) -> Outcome:
    """Run a command with an alarm clock, and say how it ended; `silent` is any end that names nothing."""

    def ring(*_: Any) -> None:
        raise Hangs

    out, err = io.StringIO(), io.StringIO()
    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    code: Any = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            command()
    except SystemExit as left:
        code = left.code
    except Reached:
        return Outcome("silent", "it would train")
    except Hangs:
        return Outcome("hang", traceback.format_exc())
    except BaseException:
        return Outcome("traceback", traceback.format_exc())
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

    lines = [line for line in err.getvalue().splitlines() if line.startswith("calotype: ")]
    if "Traceback" in err.getvalue() or not isinstance(code, int | None):
        return Outcome("traceback", f"{code} {err.getvalue()}")
    if not code:
        return Outcome("silent", out.getvalue()[-300:])
    return Outcome("named" if lines else "lines", err.getvalue())


def is_harmless(before: Path, after: Path, name: str) -> bool:
    """Whether the damaged file says what it said: white space, for instance."""
    if not (after / name).is_file():  # a pipe would be waited for
        return False
    try:
        if name == "run.json" or name == "metrics.json":
            return json.loads((before / name).read_text()) == json.loads((after / name).read_text())
        if name == "config.yaml":
            return yaml.safe_load((before / name).read_text()) == yaml.safe_load((after / name).read_text())
        return (before / name).read_bytes() == (after / name).read_bytes()
    except Exception:
        return False


def make_run(folder: Path) -> Path:
    """A finished run with a checkpoint, in a second or two, and a picture to apply it to."""
    import numpy as np
    from PIL import Image

    import calotype

    with contextlib.redirect_stdout(io.StringIO()):
        calotype.run([*RUN, f"hydra.run.dir={folder}"])
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(folder.parent / "picture.png")
    return folder


def without_seal(folder: Path) -> None:
    """A run as earlier versions left it, whose files have no checksums."""
    record = json.loads((folder / "run.json").read_text())
    for key in ("files", "checksum"):
        record.pop(key)
    (folder / "run.json").write_text(json.dumps(record, indent=2))


def fuzz(whole: Path, count: int, seed: int, *, each: int = 2) -> tuple[Counter[str], list[str]]:
    """Damage `count` files of copies of the run `whole`, and run `each` of the commands on every copy.

    Every fourth copy has no seal: there a changed number is no damage that anybody can see, but nothing may fall over it.

    Returns:
        How often each outcome was, and what went wrong, in words.
    """
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    faults = []
    with tempfile.TemporaryDirectory() as scratch:
        good, bad = Path(scratch, "good"), Path(scratch, "bad")
        shutil.copytree(whole, good)
        shutil.copy(whole.parent / "picture.png", scratch)
        for i in range(count):
            shutil.rmtree(bad, ignore_errors=True)
            shutil.copytree(whole, bad)
            is_sealed = i % 4 != 0
            if not is_sealed:
                without_seal(bad)
            untouched = Path(scratch, "untouched")
            shutil.rmtree(untouched, ignore_errors=True)
            untouched.mkdir()
            for name in FILES:
                shutil.copy(bad / name, untouched / name)
            name = rng.choice(FILES)
            state = rng.getstate()
            what = damage(bad, name, rng)

            known = commands(good, bad, Path(scratch))
            for command in rng.sample(sorted(known), each):
                found = run_command(known[command])
                kind = found.kind
                if kind == "silent" and not is_sealed:
                    kind = "unsealed"
                elif kind == "silent" and is_harmless(untouched, bad, name):
                    kind = "harmless"
                counts[kind] += 1
                if kind in ("traceback", "hang", "silent", "lines"):
                    faults.append(f"{i} {command} after {what} ({hash(state) % 9973}): {kind}: {found.told.strip()[-1500:]}")
    return counts, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=2, help="commands that each damaged run is given to")
    parser.add_argument("--show", type=int, default=10, help="faults that are printed")
    options = parser.parse_args()

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        counts, faults = fuzz(make_run(Path(folder, "run")), options.files, options.seed, each=options.each)
    for fault in faults[: options.show]:
        print(fault, end="\n\n")
    bad = {kind: counts[kind] for kind in ("traceback", "hang", "silent", "lines")}
    told = ", ".join(f"{number} {kind}" for kind, number in bad.items())
    rest = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()) if kind not in bad)
    print(f"{options.files} damaged files, {sum(counts.values())} commands: {told}; {rest}; {time.perf_counter() - began:.0f} s")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

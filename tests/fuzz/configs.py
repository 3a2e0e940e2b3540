"""Mutates configs at random and checks them in this process: each is accepted, or refused in one short line that names a key.

    python tests/fuzz/configs.py --configs 10000 --seed 0     only checked
    python tests/fuzz/configs.py --started 300 --seed 0       accepted ones are run, shortened

A mutation is an override of a key that exists (with a value of another kind, out of range, or absurd), of a key that does
not (misspelt, or in the wrong place, with `+`), a deletion, or an exchange of an option. What is counted: tracebacks (an error
that is no UserError), lines (more than one, or over 200 characters), and keys that are ignored (a misspelt key that is
accepted).
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import math
import os
import random
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

from calotype.check import check
from calotype.compose import compose_config
from calotype.schema import conf_dir, flat, to_plain
from calotype.types import UserError

TASKS = sorted(p.stem for p in (conf_dir() / "task").glob("*.yaml"))
GROUPS = ("model", "loss", "optimizer", "scheduler", "data", "dataset", "callbacks", "logger", "hardware")
VALUES = [
    "null", "true", "false", "-1", "0", "1", "2", "3", "7", "1000000000", "0.5", "1.5", "-0.5", "1e-9", "1e30", "nan", "inf", "abc", "''",
    "[]", "[0]", "[-1]", "[1,2]", "[a]", "[[1]]", "{}", "{a: 1}", "'1'", "'a b'", "/nonexistent", "auto", "none", "${seed}", "[null]",
    "99999999999999999999", "'${nope}'", "'%'", "'50%$#$'", "猫",
]  # fmt: skip


def base(task: str) -> list[str]:
    """The task on data that comes with the packages."""
    faces = ["dataset=synthetic_faces", "dataset.num_identities=12", "dataset.images_per_identity=4"]
    return [f"task={task}", *(faces if task in ("facenet", "siamese") else [])]


def keys_of(task: str, known: dict[str, list[str]]) -> list[str]:
    if task not in known:
        known[task] = [key for key in flat(to_plain(compose_config(base(task)))) if not key.startswith("hydra")]
    return known[task]


def misspelt(key: str, rng: random.Random) -> str:
    """The key with a letter dropped, doubled, or two exchanged in its last part."""
    head, _, name = key.rpartition(".")
    i = rng.randrange(max(1, len(name) - 1))
    changed = rng.choice(
        [name[:i] + name[i + 1 :], name[:i] + name[i : i + 1] + name[i:], name[:i] + name[i + 1 : i + 2] + name[i : i + 1] + name[i + 2 :]]
    )
    return f"{head}.{changed or 'x'}" if head else changed or "x"


def mutation(task: str, rng: random.Random, known: dict[str, list[str]]) -> tuple[list[str], bool]:
    """The overrides, and whether one of them is a key that must be refused."""
    keys = keys_of(task, known)
    kind = rng.random()
    if kind < 0.6:
        return [f"{rng.choice(keys)}={rng.choice(VALUES)}"], False
    if kind < 0.8:
        key = misspelt(rng.choice([k for k in keys if "." in k]), rng)
        return [f"+{key}={rng.choice(VALUES)}"], key not in keys
    if kind < 0.87:
        return [f"~{rng.choice([*keys, *GROUPS, 'trainer', 'paths', 'task'])}"], False
    if kind < 0.95:
        group = rng.choice(GROUPS)
        files = [p.relative_to(conf_dir() / group).with_suffix("").as_posix() for p in (conf_dir() / group).rglob("*.yaml")]
        return [f"{group}={rng.choice(files)}"], False
    return [f"{rng.choice([*GROUPS, 'trainer', 'paths', 'task', 'name', 'seed'])}={rng.choice(VALUES)}"], False


def look(overrides: list[str], *, must_fail: bool, found: dict[str, list[str]]) -> Any:
    """Compose and check; the config where it is accepted."""
    told = " ".join(overrides)
    from calotype.cli_errors import one_line_errors

    stream = io.StringIO()
    try:
        with contextlib.redirect_stderr(stream), one_line_errors():
            cfg = compose_config(overrides, hydra=True)
            str(cfg.hydra.run.dir)
            check(cfg, typed=overrides)
    except SystemExit:
        line = stream.getvalue()
        if line.count("\n") != 1 or len(line) > 201:
            found["lines"].append(f"{told}: {line}")
        return None
    except BaseException:
        found["tracebacks"].append(f"{told}: {traceback.format_exc()}")
        return None
    if must_fail:
        found["ignored keys"].append(told)
    return cfg


def start(overrides: list[str], folder: Path, found: dict[str, list[str]]) -> bool:
    """Run what was accepted, shortened; nonsense is a figure that is no number, or a loss of nothing."""
    import calotype

    short = ["debug=fast", "logger=none", f"hydra.run.dir={folder}/run"]
    told = " ".join(overrides)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = calotype.run([*overrides, *short])
        except UserError as error:
            if "\n" in str(error):
                found["lines"].append(f"{told}: {error}")
            return False
        except KeyboardInterrupt:
            raise
        except BaseException:
            found["tracebacks"].append(f"{told}: {traceback.format_exc()}")
            return False
    if any(value is not None and not math.isfinite(value) for value in result.metrics.values()):
        found["nonsense"].append(f"{told}: {json.dumps(result.metrics)[:300]}")
    return True


def fuzz(configs: int, seed: int) -> dict[str, list[str]]:
    """Check so many mutated configs; what was found, by its kind."""
    rng, known = random.Random(seed), {}  # type: ignore[var-annotated]
    found: dict[str, list[str]] = collections.defaultdict(list)
    accepted = 0
    for _ in range(configs):
        task = rng.choice(TASKS)
        changes, must_fail = mutation(task, rng, known)
        accepted += look([*base(task), *changes], must_fail=must_fail, found=found) is not None
    found["accepted"] = [str(accepted)]
    return found


def fuzz_started(runs: int, seed: int) -> dict[str, list[str]]:
    """Start so many accepted mutations."""
    from protocols.kill_and_resume import COMMANDS

    rng, known = random.Random(seed), {}  # type: ignore[var-annotated]
    found: dict[str, list[str]] = collections.defaultdict(list)
    nothing: dict[str, list[str]] = collections.defaultdict(list)
    started = finished = 0
    while started < runs:
        task = rng.choice(TASKS)
        changes, _ = mutation(task, rng, known)
        if changes[0].startswith(("paths", "~paths", "hydra", "resume", "init_from", "dry_run")):
            continue
        overrides = [f"task={task}", *COMMANDS[task], "hardware=cpu", "hardware.num_threads=1", "hardware.timeout=20", *changes]
        if look(overrides, must_fail=False, found=nothing) is None:
            continue
        started += 1
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            finished += start(overrides, Path(folder), found)
        print(started, changes, flush=True)
    found["finished"] = [str(finished)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", type=int, default=10_000)
    parser.add_argument("--started", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    found = fuzz_started(options.started, options.seed) if options.started else fuzz(options.configs, options.seed)
    for kind, cases in found.items():
        if kind in ("accepted", "finished"):
            continue
        for case in cases:
            print(f"--- {kind}: {case}")
    for kind in ("tracebacks", "lines", "ignored keys", "nonsense"):
        print(f"{kind}: {len(found.get(kind, []))}")
    print({kind: cases[0] for kind, cases in found.items() if kind in ("accepted", "finished")})
    raise SystemExit(any(found.get(kind) for kind in ("tracebacks", "lines", "ignored keys", "nonsense")))


if __name__ == "__main__":
    main()

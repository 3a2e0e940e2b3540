"""The committed figures: the table is what the evidence says, and no evidence names this or that machine's folders."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def test_table_is_made_from_the_evidence() -> None:
    spec = importlib.util.spec_from_file_location("record", EXPERIMENTS / "record.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (EXPERIMENTS / "README.md").read_text()
    assert text.partition(module.START)[2].partition(module.END)[0].strip() == module.table()


def test_evidence_is_of_clean_finished_runs_without_paths() -> None:
    files = list(EXPERIMENTS.glob("*/*.json"))
    assert files
    for path in files:
        evidence = json.loads(path.read_text())
        assert evidence["git_commit"], path
        assert not re.search(r'["\'=]/\w+/', path.read_text()), path

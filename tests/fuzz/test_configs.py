"""A few hundred of the 10,000 mutated configs of `tests/fuzz/configs.py`, and those that it once found."""

from __future__ import annotations

import collections

import pytest

from fuzz.configs import base, fuzz, look

FOUND = {
    "callbacks=[1]": False,
    "model=[null]": False,
    "optimizer=[[1]]": False,
    "task=[null]": False,
    "~task": False,
    "~trainer": False,
    "trainer=3": False,
    "+trainer.max_epoch=3": True,
    "+hardware.device=1": True,
    "+paths.data=x": True,
    "+logger.tensorboard.naem=x": True,
    "+loss._targett_=1": True,
    "+logger.tensorboard.t_arget_=1": True,
    "callbacks.best.monitor=''": False,
    "+callbacks.best.filename=x": False,
    "task.loss=true": False,
}


def test_no_traceback_one_line_and_no_ignored_key() -> None:
    found = fuzz(80, seed=20)
    accepted = int(found.pop("accepted")[0])
    assert dict(found) == {}
    assert 5 < accepted < 75


@pytest.mark.parametrize("override", FOUND)
def test_what_was_found(override: str) -> None:
    found: dict[str, list[str]] = collections.defaultdict(list)
    cfg = look([*base("classification"), override], must_fail=FOUND[override], found=found)
    assert dict(found) == {}
    assert cfg is None

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from calotype.callbacks.divergence import Divergence
from calotype.types import UserError


def trainer(precision: str, epochs: int = 12) -> Any:
    progress = SimpleNamespace(current=SimpleNamespace(completed=epochs))
    return SimpleNamespace(precision=precision, global_step=123456, fit_loop=SimpleNamespace(epoch_progress=progress))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("what", ["the loss is nan", f"the weights {'features.' * 20}weight are no longer numbers"])
@pytest.mark.parametrize("epochs", [0, 12])
def test_the_advice_is_short_and_helps(what: str, precision: str, epochs: int) -> None:
    with pytest.raises(UserError, match="training diverged in epoch") as error:
        Divergence()._fail(trainer(precision, epochs), what)
    told = str(error.value)
    assert len(told) < 200
    assert "lower optimizer.lr" in told
    assert "trainer.gradient_clip_val" in told
    assert what[:15] in told
    assert ("hardware.precision=32-true" in told) == (precision != "32-true")
    assert "hardware=cpu" not in told

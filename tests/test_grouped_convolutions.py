"""Grouped convolutions compute in single precision where the CPU computes in bfloat16."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import calotype
from calotype.grouped_convolutions import keep_in_single_precision
from calotype.models.efficientnet_lite0 import SameConv2d
from calotype.tasks.classification import Classification


def step(layer: nn.Module, x: Tensor, *, autocast: bool) -> tuple[Tensor, Tensor]:
    layer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        y = layer(x)
    y.backward(torch.ones_like(y))
    return y, next(layer.parameters()).grad  # type: ignore[return-value]


@pytest.mark.parametrize("kind", [nn.Conv2d, SameConv2d, nn.ConvTranspose2d])
def test_values_and_gradients_are_those_of_single_precision(kind: Any) -> None:
    layer = kind(8, 8, 5, stride=2, groups=8)
    x = torch.randn(4, 8, 9, 9)
    expected = step(layer, x, autocast=False)
    assert step(layer, x, autocast=True)[0].dtype == torch.bfloat16

    keep_in_single_precision(layer)
    keep_in_single_precision(layer)  # a second time changes nothing
    for one in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(step(one, x, autocast=True), expected, rtol=0, atol=0)
    assert isinstance(layer, kind)


def test_a_copy_has_weights_of_its_own() -> None:
    layer = nn.Conv2d(4, 4, 3, groups=2)
    keep_in_single_precision(layer)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.weight.zero_()
    assert not twin(torch.ones(1, 4, 3, 3)).sub(twin.bias[:, None, None]).any()  # type: ignore[index]
    assert layer.weight.any()
    assert [*layer.state_dict()] == ["weight", "bias"]


@pytest.mark.parametrize(("hardware", "ungrouped"), [("cpu_bf16", torch.bfloat16), ("cpu", torch.float32)])
def test_a_run_on_the_cpu(hardware: str, ungrouped: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    training_step = Classification.training_step

    def watched(self: Any, *args: Any) -> Any:
        convolutions = [one for one in self.modules() if isinstance(one, nn.Conv2d)]
        hooks = [c.register_forward_hook(lambda c, _, y: seen[c.groups > 1].add(y.dtype)) for c in convolutions]
        result = training_step(self, *args)
        for hook in hooks:
            hook.remove()
        return result

    monkeypatch.setattr(Classification, "training_step", watched)
    network = ["model=torchvision", "model.name=mobilenet_v3_small", "debug=fast", "trainer.limit_train_batches=1"]
    calotype.run([*network, f"hardware={hardware}", f"hydra.run.dir={tmp_path / 'run'}"])
    assert seen == {True: {torch.float32}, False: {ungrouped}}

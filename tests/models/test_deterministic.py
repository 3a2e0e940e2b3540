"""What a GPU is given in place of torch's operations whose gradients differ from run to run is what torch computes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import calotype
from calotype.models import deterministic
from calotype.models.deterministic import GridPool, gathered, pooled
from calotype.models.efficientnet_lite0 import EfficientNetLite0Features


@pytest.mark.parametrize(("height", "width", "grid"), [(7, 7, 4), (8, 4, 4), (5, 9, 1), (3, 10, 5), (1, 1, 1)])
def test_pooled_is_adaptive_pooling(height: int, width: int, grid: int) -> None:
    x = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, grid, grid, dtype=torch.float64)
    ours, theirs = pooled(x, grid), F.adaptive_avg_pool2d(x, grid)
    assert torch.allclose(ours, theirs)
    assert torch.allclose(*(torch.autograd.grad((y * weight).sum(), x)[0] for y in (ours, theirs)))


@pytest.mark.parametrize("size", [(6, 6), (5, 9), (1, 4)])
def test_gathered_is_grid_sample(size: tuple[int, int]) -> None:
    """Turned, enlarged and moved half out of the picture."""
    pictures = torch.randn(3, 2, *size, dtype=torch.float64, requires_grad=True)
    for turn, shift in itertools.product((0.0, 0.4, 1.9), (0.0, 0.3, -1.4)):
        matrix = torch.tensor([[1.3 - turn, -turn, shift], [turn, 0.8, -shift]], dtype=torch.float64)
        (grid,) = F.affine_grid(matrix[None], [1, 2, *size], align_corners=False)
        ours = gathered(pictures, grid)
        theirs = F.grid_sample(pictures, grid.expand(3, *grid.shape), align_corners=False)
        assert torch.allclose(ours, theirs, atol=1e-12)
        weight = torch.randn_like(ours)
        assert torch.allclose(*(torch.autograd.grad((y * weight).sum(), pictures)[0] for y in (ours, theirs)), atol=1e-12)


class Operations(TorchDispatchMode):
    """The names of all operations that torch executes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


REFUSED = {"grid_sampler_2d_backward", "_adaptive_avg_pool2d_backward"}  # on a GPU, under hardware.deterministic=true


def test_no_refused_gradient(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """`task=visualise` as it is by default, and the features of faces: neither ran on a GPU."""
    run = ["task=visualise", "data.size=32", "task.steps=2", "task.channels=2", "logger=none"]
    for is_on_gpu in (False, True):
        monkeypatch.setattr(deterministic, "_is_refused", lambda x, is_on_gpu=is_on_gpu: is_on_gpu and x.requires_grad)
        with Operations() as seen:
            calotype.run([*run, f"hydra.run.dir={tmp_path}/{is_on_gpu}"])
            EfficientNetLite0Features(num_blocks=1, grid=3, pretrained=False)(torch.rand(2, 3, 32, 32)).sum().backward()
        assert bool(REFUSED & seen.names) is not is_on_gpu
    assert isinstance(EfficientNetLite0Features(num_blocks=1, grid=3, pretrained=False).pool, GridPool)

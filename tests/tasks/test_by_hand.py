"""Tasks that step their optimizers by themselves clip gradients and add up those of batches, as the Trainer does for others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import nn

import calotype
from calotype.tasks.schedule import ByHand, descend

BY_HAND = {
    "gan": ["dataset=gaussians_2d", "dataset.num_points=600", "model=gan/mlp_gan", "model.widths=[8]", "task.samples=100"],
    "translation": ["dataset=digits", "data.preprocess.size=16", "model.width=4", "model.levels=1"],
    "cyclegan": ["dataset=digits", "data.preprocess.size=16", "model.width=4", "model.levels=1"],
}


class Line(LightningModule):
    """Squares of a line's values, in as many batches as there are numbers."""

    def __init__(self, *, automatic: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line = nn.Linear(3, 1)
        self.automatic_optimization = automatic

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
        loss = self.line(batch).square().mean() * 100
        if self.automatic_optimization:
            return loss
        descend(self, self.optimizers(), loss)
        return None

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("algorithm", ["norm", "value"])
@pytest.mark.parametrize("batches", [1, 3])
def test_the_same_weights_as_by_the_trainer(clip: float | None, algorithm: str, batches: int) -> None:
    """7 batches: with 3 to a step, the last step has one batch, which Lightning divides by 3 as well."""
    data = torch.utils.data.DataLoader(torch.randn(14, 3, generator=torch.Generator().manual_seed(1)), batch_size=2)  # type: ignore[arg-type]
    plain: dict[str, Any] = {"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    plain |= {"enable_progress_bar": False, "enable_model_summary": False}
    weights = []
    for automatic in (True, False):
        line = Line(automatic=automatic)
        given: dict[str, Any] = {"gradient_clip_val": clip, "gradient_clip_algorithm": algorithm, "accumulate_grad_batches": batches}
        if not automatic:
            line.by_hand = ByHand(clip, algorithm, batches)  # type: ignore[assignment]
            given = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *_, **__: None)
            Trainer(**plain, **given).fit(line, data)
        weights.append(torch.cat([p.detach().flatten() for p in line.parameters()]))
    torch.testing.assert_close(*weights)


@pytest.mark.parametrize("task", BY_HAND)
def test_every_task_takes_them(task: str, tmp_path: Path) -> None:
    few = [f"task={task}", *BY_HAND[task], "debug=fast", "hardware=cpu", "logger=none"]
    few += ["callbacks=early_stopping"]  # of points other metrics are measured than of images
    clipped = ["trainer.gradient_clip_val=0.01", "trainer.accumulate_grad_batches=2"]
    modules = [calotype.run([*few, *more, f"hydra.run.dir={tmp_path}/{len(more)}"]).module for more in ([], clipped)]
    first, second = (torch.cat([p.detach().flatten() for p in module.parameters()]) for module in modules)
    assert not first.equal(second)

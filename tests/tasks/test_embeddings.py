"""What evaluation looks at: zooms and mirror images, averaged."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import calotype
from calotype.tasks.embeddings import checked_zooms, views
from calotype.types import UserError


def test_zooms_enlarge_the_middle_and_continue_the_edge() -> None:
    images = torch.arange(64.0).reshape(1, 1, 8, 8)
    same, mirrored, twice, _, half, _ = views(images, flip=True, zooms=(1.0, 2.0, 0.5))
    assert torch.equal(same, images)
    assert torch.equal(mirrored, images.flip(-1))
    middle = F.interpolate(images, scale_factor=2, mode="bilinear")[..., 4:12, 4:12]
    assert torch.allclose(twice, middle, atol=1e-4)
    assert torch.allclose(half[..., :2, :2], torch.zeros(1, 1, 2, 2), atol=1e-4)  # the corner pixel, continued
    assert half[0, 0, -1, -1] == pytest.approx(63)
    assert half[0, 0, 3, 3] == pytest.approx(images[0, 0, 2:4, 2:4].mean().item(), abs=1e-3)


@pytest.mark.parametrize("task", ["facenet", "siamese"])
def test_the_mean_over_all_looks(task: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    options = ["dataset.num_identities=24", "dataset.images_per_identity=4", "dataset.size=16", "hardware=cpu", "logger=none"]
    options += ["data.val_fraction=0.25", "data.test_fraction=0.25", "debug=fast", f"hydra.run.dir={tmp_path}/run"]
    zooms = ["task.flip_test=true", "task.zoom_test=[0.9,1.0,1.2]"]
    module = calotype.run([f"task={task}", "dataset=synthetic_faces", *options, *zooms]).module.eval()
    images = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        looks = [module.model(seen) for seen in views(images, flip=True, zooms=(0.9, 1.0, 1.2))]
        want = torch.stack(looks).mean(0)
        assert torch.allclose(module(images), F.normalize(want, dim=1) if task == "facenet" else want, atol=1e-6)
        assert torch.allclose(module(images), module(images.flip(-1)), atol=1e-6)
        module.train()
        module.model.eval()
        assert torch.equal(module(images), module.model(images))  # training looks once


@pytest.mark.parametrize("zooms", [[], [0.0], [1.0, -1.0]])
def test_zooms_that_are_none(zooms: list[float]) -> None:
    with pytest.raises(UserError, match=r"task\.zoom_test"):
        checked_zooms(zooms)

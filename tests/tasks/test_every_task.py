"""Every task trains, is cut off, goes on from its checkpoint and is tested: what new versions of its packages break first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import skimage.data
from PIL import Image
from pytorch_lightning import Trainer

import calotype

PLAIN = ["hardware=cpu", "hardware.num_threads=1", "logger=none"]
SHORT = [*PLAIN, "debug=fast", "trainer.max_epochs=2"]
DIGITS = ["dataset=digits", "data.preprocess.size=16", "model.width=4", *SHORT]
FACES = ["dataset=synthetic_faces", "dataset.num_identities=10", "dataset.images_per_identity=4", "dataset.size=16"]
STYLE = ["task.content_layers={relu2_1: 1.0}", "task.style_layers={relu1_1: 1.0}", "data.size=32"]
TASKS = {
    "classification": ["dataset=digits", "model.widths=[4]", *SHORT],
    "siamese": ["dataset=digits", "data.split=image", "data.train_pairs=60", "data.val_pairs=60", "data.test_pairs=60",
                "model.backbone.widths=[4]", *SHORT],
    "facenet": [*FACES, "data.val_fraction=0.3", "data.identities_per_batch=2", "model.backbone.widths=[4]", *SHORT],
    "dip": ["dataset.clean=photo.png", "model.channels=[4,4]", "model.latent_channels=4", "task/stop=fixed", "task.iterations=4",
            "data.iterations_per_epoch=2", *PLAIN],
    "style_transfer": ["dataset.path=photo.png", "model=style/random_vgg", "model@task.judge=style/random_vgg_heldout", "task.steps=4",
                       "data.steps_per_epoch=2", *STYLE, *PLAIN],
    "fast_style": ["model.width=4", "model.blocks=1", "model@task.features=style/random_vgg", "data.style_size=48", "data.test_size=32",
                   "data.batch_size=2", "data.steps_per_epoch=2", *STYLE, *SHORT],
    "gan": ["dataset=gaussians_2d", "dataset.num_points=1000", "model=gan/mlp_gan", "model.widths=[16]", "task.samples=200", *SHORT],
    "cgan": ["task.classifier=null", "task.samples=200", "model.latent_size=4", *DIGITS],
    "translation": ["model.levels=1", *DIGITS],
    "cyclegan": ["model.levels=1", *DIGITS],
    "pixelcnn": ["dataset=digits", "data.levels=4", "model.width=4", "model.blocks=1", "callbacks.pictures.columns=1",
                 "callbacks.pictures.completions=1", *SHORT],
    "visualise": ["model=style/random_vgg", "data.size=32", "task.steps=4", *PLAIN],
}  # fmt: skip


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Interrupt training as soon as `last.ckpt` is written."""
    save = Trainer.save_checkpoint

    def save_and_interrupt(self: Trainer, filepath: str, *args: Any, **kwargs: Any) -> None:
        save(self, filepath, *args, **kwargs)
        if Path(filepath).name == "last.ckpt":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save_checkpoint", save_and_interrupt)
        yield patch


@pytest.mark.parametrize("task", TASKS)
def test_a_run_that_was_cut_off_goes_on(task: str, tmp_path: Path, cut_off: pytest.MonkeyPatch) -> None:
    Image.fromarray(skimage.data.astronaut()).resize((32, 32)).save("photo.png")
    run_dir = tmp_path / task
    with pytest.raises(KeyboardInterrupt):
        calotype.run([f"task={task}", *TASKS[task], f"hydra.run.dir={run_dir}"])
    assert json.loads((run_dir / "run.json").read_text())["status"] == "interrupted"
    cut_off.undo()

    # The checkpoint is read with everything in it: weights, optimizers, generators.
    calotype.run([f"resume={run_dir}"])

    assert json.loads((run_dir / "run.json").read_text())["status"] == "finished"
    assert (run_dir / "metrics.json").is_file()

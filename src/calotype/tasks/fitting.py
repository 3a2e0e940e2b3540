"""Models that are fitted at once to features of all training images, under the same command as those trained by steps."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.trainer.states import TrainerFn

from calotype.callbacks.run_state import end_training


def fit_to_training_images(module: LightningModule, model: Any) -> None:
    """Give `model.fit` the features and labels of every training image once, without augmentation, and end the training.

    Does nothing for a model without `fit`, outside of training, and where that is done.
    """
    if not hasattr(model, "fit") or module.trainer.state.fn != TrainerFn.FITTING or module.trainer.should_stop:
        return
    datamodule: Any = module.trainer.datamodule  # type: ignore[attr-defined]
    features, labels = [], []
    with torch.no_grad():
        for raw in datamodule.predict_dataloader():
            batch = raw._replace(**{name: value.to(module.device) for name, value in raw._asdict().items()})
            batch = batch._replace(images=batch.images.float() / 255 if batch.images.dtype == torch.uint8 else batch.images)
            features.append(model.features(batch.images))
            labels.append(batch.labels)
    gathered = module.all_gather(torch.cat(features)), module.all_gather(torch.cat(labels))
    model.fit(gathered[0].flatten(0, -2), gathered[1].flatten())  # type: ignore[union-attr]
    end_training(module, "fitted")  # one look at the data is all there is to see

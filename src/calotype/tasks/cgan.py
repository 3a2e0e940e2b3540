"""The adversarial game with both networks told the class."""

from __future__ import annotations

from typing import ClassVar

from calotype.tasks.gan import GAN
from calotype.types import LabelledBatch, Needs


class ConditionalGAN(GAN):
    """A generator of images of a class that is asked for (Mirza and Osindero, 2014); arguments as `GAN`'s.

    Logged beside: test/condition_accuracy, the share of generated images that the judge takes for the class that was asked for
    (GAN-test); with classifier_steps test/few_real_accuracy, test/gan_train_accuracy and test/augmented_accuracy.
    """

    needs: ClassVar = Needs(batch=LabelledBatch, model="Generated", loss=("real", "generated"))
    conditional: ClassVar = True

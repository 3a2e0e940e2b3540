"""How near translated images are to their targets, beside the inputs themselves as a yardstick."""

from __future__ import annotations

from torch import Tensor

from calotype.metrics.restoration import psnr, ssim
from calotype.types import ImagePairBatch

SHOWN = 8
WINDOW = 11  # of the structural similarity: smaller images have none


class Translations:
    """Collects an evaluation batch by batch.

    Figures: psnr in dB, ssim, l1, each the mean over images; input_psnr, input_ssim of what was given, where it has the targets' channels:
    for super-resolution that is cubic interpolation.
    """

    def __init__(self) -> None:
        self.shown: list[tuple[Tensor, Tensor, Tensor]] = []  # input, made, target (1, C, H, W) each, on the CPU
        self._sums: dict[str, float] = {}
        self._count = 0

    def forget(self) -> None:
        self._sums, self._count = {}, 0
        self.shown = []

    def update(self, batch: ImagePairBatch, made: Tensor) -> None:
        """`made` (N, D, H, W) in [0, 1] of the batch's inputs."""
        comparable = batch.inputs.shape == batch.targets.shape
        for given, image, target in zip(batch.inputs.split(1), made.split(1), batch.targets.split(1), strict=True):
            found = {"psnr": psnr(image, target), "l1": (image - target).abs().mean()}
            if comparable:
                found["input_psnr"] = psnr(given, target)
            if min(target.shape[2:]) >= WINDOW:
                found["ssim"] = ssim(image, target)
                if comparable:
                    found["input_ssim"] = ssim(given, target)
            for name, value in found.items():
                self._sums[name] = self._sums.get(name, 0.0) + float(value)
            self._count += 1
            if len(self.shown) < SHOWN:
                self.shown.append((given.cpu(), image.cpu(), target.cpu()))

    def figures(self) -> dict[str, float]:
        return {name: value / self._count for name, value in self._sums.items()}

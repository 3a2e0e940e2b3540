"""How near a restored image is to the clean one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from calotype.types import SingleImageBatch


@dataclass(frozen=True)
class Restoration:
    """What a run made of an image, with all that is known about it.

    Attributes:
        batch: what was observed, and the clean image where it is known.
        outputs: at_stop, ema (the running average at the end), last; each (1, C, H, W).
        yardsticks: of methods without a network, each (1, C, H, W).
        curves: loss, variance, held_out, psnr and so on, each (jobs, iterations); NaN where not known.
        kept_at: (jobs,), iterations at the output that was kept.
        figures: see `restoration`.
    """

    batch: SingleImageBatch
    outputs: Mapping[str, Tensor]
    yardsticks: Mapping[str, Tensor]
    curves: Mapping[str, Tensor]
    kept_at: Tensor
    figures: Mapping[str, float]


def restoration(
    batch: SingleImageBatch,
    outputs: Mapping[str, Tensor],
    *,
    yardsticks: Mapping[str, Tensor],
    curves: Mapping[str, Tensor],
    kept_at: Tensor,
) -> Restoration:
    """The figures of a run (see `Restoration` for the arguments).

    iterations (of all tiles and runs), iterations_at_stop (mean over them); where the clean image is known
    psnr_at_stop, psnr_ema, psnr_last, psnr_peak (the best that the running average had, mean over tiles and runs of the error),
    ssim_at_stop, psnr_observed, baseline/<method>_psnr, and where there are holes the same over them alone as hole_...
    """
    figures = {
        "iterations": float((~curves["loss"].isnan()).sum()),
        "iterations_at_stop": kept_at.double().mean().item() if len(kept_at) else 0.0,
    }
    if len(batch.clean):
        same_size = batch.observed.shape == batch.clean.shape
        holes = 1 - batch.known if same_size and not batch.known.all() else None
        for prefix, where in (("", None), *([("hole_", holes)] if holes is not None else [])):
            for name, image in outputs.items():
                figures[f"{prefix}psnr_{name}"] = psnr(image, batch.clean, where).item()
            figures[f"{prefix}psnr_peak"] = _peak(curves[f"{prefix}psnr_average"])
            figures[f"{prefix}ssim_at_stop"] = ssim(outputs["at_stop"], batch.clean, where).item()
            for name, image in yardsticks.items():
                figures[f"baseline/{prefix}{name}_psnr"] = psnr(image, batch.clean, where).item()
        if same_size and holes is None:
            figures["psnr_observed"] = psnr(batch.observed, batch.clean).item()
    return Restoration(batch, outputs, yardsticks, curves, kept_at, {k: v for k, v in figures.items() if v == v})


def _peak(curve: Tensor) -> float:
    """Of PSNRs (jobs, iterations), the best of each, joined by the mean of the squared errors; NaN where none is known."""
    best = curve.nan_to_num(-torch.inf).amax(1)
    best = best[best > -torch.inf].double()
    return (-10 * (10 ** (-best / 10)).mean().log10()).item() if len(best) else float("nan")


def psnr(restored: Tensor, clean: Tensor, where: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB of images (1, C, H, W) in [0, 1], infinite for equal ones.

    Args:
        where: (1, 1, H, W), 1 for the pixels that count, 0 for others; all by default.
    """
    squared = (restored.double() - clean.double()).square()
    if where is None:
        return -10 * squared.mean().log10()
    weight = where.double().expand_as(squared)
    return -10 * ((squared * weight).sum() / weight.sum()).log10()


def ssim(restored: Tensor, clean: Tensor, where: Tensor | None = None) -> Tensor:
    """Structural similarity of images (1, C, H, W) in [0, 1]: Gaussian window 11x11, sigma 1.5 (Wang et al., 2004), mean over channels.

    Windows that reach over the edge are left out, as in scikit-image; with `where` they are kept, mirrored.

    Args:
        where: as in `psnr`.
    """
    _, full = structural_similarity_index_measure(restored.double(), clean.double(), data_range=1.0, return_full_image=True)
    assert isinstance(full, Tensor)
    if where is None:
        return full[..., 5:-5, 5:-5].mean()
    weight = where.double().expand_as(full)
    return (full * weight).sum() / weight.sum()

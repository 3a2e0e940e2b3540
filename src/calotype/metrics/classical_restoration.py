"""Restoration without a network, as yardsticks: what a run has to beat to be worth its time."""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Array = NDArray[np.float64]


def denoised(observed: Tensor, sigma: float | None) -> dict[str, Tensor]:
    """nlm, tv, wavelet and, where the package is installed, bm3d of an image (1, C, H, W) in [0, 1].

    The same settings for every image: non-local means with patches of 5, distance 6 and h = 0.6 sigma (scikit-image's recommendation for a
    known sigma); Chambolle's total variation with weight 0.8 sigma and BayesShrink of db2 wavelets in YCbCr (the best of several weights
    and wavelets on coffee and brick).

    Args:
        observed: the noisy image.
        sigma: of its noise, 0 to 1; None: estimated from the image.
    """
    from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet, estimate_sigma

    image = _to_numpy(observed)
    axis = None if image.ndim == 2 else -1
    if sigma is None:
        sigma = float(np.mean(estimate_sigma(image, channel_axis=axis)))
    if sigma == 0:
        return {}
    with np.errstate(invalid="ignore", divide="ignore"):  # BayesShrink divides by the energy of a band, 0 in a flat image
        wavelet = denoise_wavelet(image, sigma=sigma, wavelet="db2", convert2ycbcr=axis is not None, rescale_sigma=True, channel_axis=axis)
    found = {
        "nlm": denoise_nl_means(image, h=0.6 * sigma, sigma=sigma, patch_size=5, patch_distance=6, fast_mode=True, channel_axis=axis),
        "tv": denoise_tv_chambolle(image, weight=0.8 * sigma, channel_axis=axis),
        "wavelet": wavelet,
    }
    if importlib.util.find_spec("bm3d"):
        import bm3d  # type: ignore[import-untyped]

        profile = bm3d.BM3DProfile()
        profile.num_threads = 1  # several add up in an order of their own each time
        with np.errstate(invalid="ignore", divide="ignore"):  # it divides by the range of each colour, 0 where all is grey
            found["bm3d"] = (bm3d.bm3d if axis is None else bm3d.bm3d_rgb)(image, sigma, profile)
    return {name: _to_tensor(result) for name, result in found.items() if np.isfinite(result).all()}


def filled(observed: Tensor, known: Tensor) -> dict[str, Tensor]:
    """biharmonic and, where OpenCV is installed, telea, navier_stokes: an image (1, C, H, W) with holes where known (1, 1, H, W) is 0."""
    from skimage.restoration import inpaint_biharmonic

    image, holes = _to_numpy(observed), known[0, 0].numpy() == 0
    axis = None if image.ndim == 2 else -1
    found = {"biharmonic": inpaint_biharmonic(np.where(holes if axis is None else holes[..., None], 0, image), holes, channel_axis=axis)}
    if importlib.util.find_spec("cv2"):
        import cv2

        eight_bit = np.rint(image * 255).astype(np.uint8)
        for name, method in (("telea", cv2.INPAINT_TELEA), ("navier_stokes", cv2.INPAINT_NS)):
            found[name] = cv2.inpaint(eight_bit, holes.astype(np.uint8), 3, method) / 255
    return {name: _to_tensor(result) for name, result in found.items()}


def enlarged(observed: Tensor, factor: int) -> dict[str, Tensor]:
    """bicubic of an image (1, C, h, w)."""
    size = (observed.shape[2] * factor, observed.shape[3] * factor)
    return {"bicubic": F.interpolate(observed, size=size, mode="bicubic", align_corners=False).clamp(0, 1)}


def _to_numpy(image: Tensor) -> Array:
    """(1, C, H, W) -> (H, W) or (H, W, 3)."""
    pixels: Array = image[0].permute(1, 2, 0).double().numpy()
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _to_tensor(pixels: Array) -> Tensor:
    image = torch.from_numpy(np.ascontiguousarray(pixels)).float().clamp(0, 1)
    return image[None, None] if image.ndim == 2 else image.permute(2, 0, 1)[None]

"""Figures of verification: error curves, histograms of distances, a map of embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from torch import Tensor

from calotype.metrics.verification import ErrorRates

GREEN, RED, BLUE = "#1a7f37", "#b42318", "#1f5fa8"


def roc(rates: ErrorRates, area: float, eer: float) -> Figure:
    """TAR over FAR, the second on a logarithmic axis, where low rates can be read."""
    figure = Figure(figsize=(5.4, 4.2), layout="constrained")
    axis = figure.subplots()
    far, tar = rates.fmr.numpy(), 1 - rates.fnmr.numpy()
    lowest = float(far[far > 0].min())
    axis.step(np.maximum(far, lowest), tar, where="post", color=BLUE, linewidth=1.6)
    axis.plot([eer], [1 - eer], "o", color=RED, markersize=5, label=f"EER {eer:.3f}")
    axis.set_xscale("log")
    axis.set_xlim(min(lowest, 0.1), 1)
    axis.set_ylim(0, 1.01)
    axis.set_xlabel("false accept rate (FAR)")
    axis.set_ylabel("true accept rate (TAR)")
    axis.set_title(f"ROC, area {area:.4f}", fontsize=10)
    axis.grid(alpha=0.3, which="both")
    axis.legend(fontsize=8, loc="lower right")
    return figure


def det(rates: ErrorRates, eer: float) -> Figure:
    """FNMR over FMR on the axes of the normal deviate, where Gaussian distances give a line (Martin et al., 1997)."""
    normal = torch.distributions.Normal(0.0, 1.0)
    inside = (rates.fmr > 0) & (rates.fmr < 1) & (rates.fnmr > 0) & (rates.fnmr < 1)
    figure = Figure(figsize=(4.8, 4.5), layout="constrained")
    axis = figure.subplots()
    axis.plot(normal.icdf(rates.fmr[inside]).numpy(), normal.icdf(rates.fnmr[inside]).numpy(), color=BLUE, linewidth=1.6)
    ticks = [0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6]
    places = normal.icdf(torch.tensor(ticks)).numpy()
    for set_ticks in (axis.set_xticks, axis.set_yticks):
        set_ticks(places, [f"{t * 100:g}" for t in ticks], fontsize=8)
    low, high = float(places[0]), float(normal.icdf(torch.tensor(0.6)))
    axis.plot([low, high], [low, high], color="#999999", linewidth=0.8, linestyle=":")
    if 0 < eer < 1:
        at = float(normal.icdf(torch.tensor(eer)))
        axis.plot([at], [at], "o", color=RED, markersize=5, label=f"EER {eer:.3f}")
        axis.legend(fontsize=8)
    axis.set_xlim(low, high)
    axis.set_ylim(low, high)
    axis.set_xlabel("false match rate, %")
    axis.set_ylabel("false non-match rate, %")
    axis.set_title("DET", fontsize=10)
    axis.grid(alpha=0.3)
    return figure


def distances(values: Tensor, same: Tensor, threshold: float | None) -> Figure:
    """Each kind of pair as a density, so that many impostor pairs do not hide the genuine ones."""
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axis = figure.subplots()
    edges = np.linspace(float(values.min()), float(values.max()) + 1e-6, 61).tolist()
    for kind, name, colour in ((same, "the same", GREEN), (~same, "different", RED)):
        axis.hist(values[kind].numpy(), edges, density=True, alpha=0.55, color=colour, label=f"{name}: {int(kind.sum()):,} pairs")
    if threshold is not None:
        axis.axvline(threshold, color="black", linewidth=1.2, linestyle="--", label=f"validation's threshold {threshold:.3g}")
    axis.set_xlabel("distance (minus the log-odds where the head gives them)" if bool((values < 0).any()) else "distance")
    axis.set_ylabel("density")
    axis.legend(fontsize=8)
    return figure


def embedding_map(embeddings: Tensor, chosen: Tensor, images: Sequence[Tensor], labels: Tensor) -> Figure:
    """t-SNE (van der Maaten & Hinton, 2008) of the embeddings, some shown as thumbnails framed in their identity's colour."""
    from sklearn.manifold import TSNE

    points = embeddings[chosen].double().numpy()
    perplexity = float(min(20, max(2, (len(points) - 1) // 3)))
    if np.ptp(points, axis=0).max() > 1e-6 * np.abs(points).max():
        places = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(points)
    else:  # collapsed: of one point scikit-learn makes nan's, with which its tree ends the process (segmentation fault)
        places = np.zeros((len(points), 2))
    figure = Figure(figsize=(9, 8), layout="constrained")
    axis = figure.subplots()
    axis.scatter(places[:, 0], places[:, 1], s=1, color="white")
    distinct, number = labels.unique(return_inverse=True)
    hues = colormaps["hsv"]
    for place, image, identity in zip(places, images, number.tolist(), strict=True):
        pixels = image.permute(1, 2, 0).numpy()
        shown = OffsetImage(pixels[..., 0] if pixels.shape[2] == 1 else pixels, cmap="gray", zoom=30 / max(pixels.shape[:2]))
        hue = hues(identity / len(distinct))
        axis.add_artist(AnnotationBbox(shown, tuple(place), pad=0.12, bboxprops={"edgecolor": hue, "linewidth": 1.6}))
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(f"t-SNE of {len(points)} test embeddings; a frame's colour is the identity ({len(distinct)} of them)", fontsize=10)
    return figure


def side_by_side(first: Tensor, second: Tensor) -> Tensor:
    """Two images (C, H, W) with a white gap."""
    gap = torch.full((first.shape[0], first.shape[1], max(1, first.shape[2] // 16)), 255, dtype=torch.uint8)
    return torch.cat([first, gap, second], 2)

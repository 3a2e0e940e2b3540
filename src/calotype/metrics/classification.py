"""Figures of a classifier, from all predictions at once: exact whatever the batches, and each image counted once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_roc,
    multiclass_recall,
)


def classification_figures(logits: Tensor, labels: Tensor, class_names: Sequence[str]) -> dict[str, float]:
    """accuracy, balanced_accuracy, recall/<class>; for two classes also average_precision, auroc, tpr_at_fpr_1e-2, positive_share.

    `positive_share` is what average precision would be by chance, and accuracy is at least one minus it by always saying no.
    Balanced accuracy is the mean recall of the classes that occur. With two classes the second one is the positive, and
    a figure that the labels cannot give (one class missing, too few negatives for the rate) is left out.

    Shapes: logits (N, K), labels (N,).
    """
    if len(labels) == 0:
        return {}
    predicted = logits.argmax(1)
    counts = torch.bincount(labels, minlength=len(class_names))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics warns of classes that do not occur; they are left out here
        recall = multiclass_recall(predicted, labels, num_classes=len(class_names), average="none")
    occurs = counts > 0
    figures = {
        "accuracy": (predicted == labels).double().mean().item(),
        "balanced_accuracy": recall[occurs].double().mean().item(),
    }
    if len(class_names) == 2 and bool(occurs.all()):
        # Ranks of the log-odds: probabilities of a sure network are all 1.0 and would tie.
        ranks = (logits[:, 1].double() - logits[:, 0].double()).unique(return_inverse=True)[1]
        scores = ranks.double() / ranks.max().clamp(min=1)
        figures["average_precision"] = binary_average_precision(scores, labels).item()
        figures["positive_share"] = labels.double().mean().item()
        figures["auroc"] = binary_auroc(scores, labels).item()
        rate = tpr_at_fpr(scores, labels, 1e-2)
        if rate is not None:
            figures["tpr_at_fpr_1e-2"] = rate
    for name, value, there in zip(class_names, recall.tolist(), occurs.tolist(), strict=True):
        if there:
            figures[f"recall/{name}"] = value
    return figures


def tpr_at_fpr(scores: Tensor, labels: Tensor, fpr: float) -> float | None:
    """The highest true-positive rate whose false-positive rate is at most `fpr`; None with fewer than 1 / fpr negatives.

    A threshold is one of the scores; nothing is interpolated between them.
    """
    if int((labels == 0).sum()) * fpr < 1 or not bool((labels == 1).any()):
        return None
    fprs, tprs, _ = binary_roc(scores, labels)
    return tprs[fprs <= fpr + 1e-9].max().item()


def confusion_matrix(logits: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Counts (K, K): row the truth, column the prediction."""
    return torch.bincount(labels * num_classes + logits.argmax(1), minlength=num_classes**2).view(num_classes, num_classes)

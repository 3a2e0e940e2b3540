"""Figures of a classifier, from all predictions at once: exact whatever the batches, and each image counted once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_average_precision, binary_roc


def classification_figures(logits: Tensor, labels: Tensor, class_names: Sequence[str]) -> dict[str, float]:
    """accuracy, balanced_accuracy, recall/<class>; for two classes also average_precision, auroc, tpr_at_fpr_1e-2, positive_share.

    `positive_share` is what average precision would be by chance, and accuracy is at least one minus it by always saying no.
    Balanced accuracy is the mean recall of the classes that occur. With two classes the second one is the positive, and
    a figure that the labels cannot give (one class missing, too few negatives for the rate) is left out.

    Time and memory beyond the logits grow with N + K.

    Shapes: logits (N, K), labels (N,).
    """
    if len(labels) == 0:
        return {}

    predicted = logits.argmax(1)
    counts = torch.bincount(labels, minlength=len(class_names))
    occurs = counts > 0
    recall = class_recall(predicted, labels, len(class_names))
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


def class_recall(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the recall of each class, (K,) float32; 0 where a class does not occur.

    Two counts of (K,): torchmetrics' deterministic count compares every prediction with all K * K cells of a confusion matrix.

    Shapes: predicted and labels (N,).
    """
    hits = torch.bincount(labels[predicted == labels], minlength=num_classes)
    counts = torch.bincount(labels, minlength=num_classes)
    return hits.float() / counts.clamp(min=1).float()


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
    return confusion_counts(logits.argmax(1), labels, num_classes)


def confusion_counts(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Counts (K, K) of predicted and true classes (N,): row the truth, column the prediction."""
    return torch.bincount(labels * num_classes + predicted, minlength=num_classes**2).view(num_classes, num_classes)


def most_confused(predicted: Tensor, labels: Tensor, num_classes: int, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` classes with the most errors, and the confusion matrix of these with all other classes as one.

    An error counts for the true and for the predicted class; of equal classes the first are taken. No (K, K) matrix is made.

    Shapes: predicted and labels (N,) -> class numbers ascending (count,), counts (count + 1, count + 1), the last row and
    column of the other classes, whose confusions among one another are left out of their diagonal.
    """
    wrong = predicted != labels
    errors = torch.bincount(labels[wrong], minlength=num_classes) + torch.bincount(predicted[wrong], minlength=num_classes)
    chosen = errors.argsort(descending=True, stable=True)[:count].sort().values
    place = torch.full((num_classes,), len(chosen), device=labels.device)
    place[chosen] = torch.arange(len(chosen), device=labels.device)

    rows, columns = place[labels], place[predicted]
    kept = ~(wrong & (rows == len(chosen)) & (columns == len(chosen)))
    return chosen, confusion_counts(columns[kept], rows[kept], len(chosen) + 1)

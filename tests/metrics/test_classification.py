from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as oracle
import torch
from torchmetrics.functional.classification import multiclass_recall

from calotype.metrics.classification import class_recall, classification_figures, confusion_matrix, most_confused, tpr_at_fpr
from calotype.metrics.predictions import Predictions
from helpers import LargestTensor


def test_many_classes_against_scikit_learn() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(500, 5), torch.randint(0, 5, (500,))
    figures = classification_figures(logits, labels, "abcde")
    predicted = logits.argmax(1)
    assert figures["accuracy"] == pytest.approx(oracle.accuracy_score(labels, predicted))
    assert figures["balanced_accuracy"] == pytest.approx(oracle.balanced_accuracy_score(labels, predicted))
    recalls = oracle.recall_score(labels, predicted, average=None)
    assert [figures[f"recall/{c}"] for c in "abcde"] == pytest.approx(recalls.tolist())
    assert torch.equal(confusion_matrix(logits, labels, 5), torch.from_numpy(oracle.confusion_matrix(labels, predicted)))
    assert "auroc" not in figures


def test_two_classes_against_scikit_learn() -> None:
    torch.manual_seed(0)
    labels = (torch.rand(900) < 0.1).long()
    logits = torch.stack([torch.zeros(900), 1.5 * labels + torch.randn(900)], 1).round(decimals=1)  # with ties
    figures = classification_figures(logits, labels, ("rest", "one"))
    assert figures["positive_share"] == pytest.approx(labels.float().mean().item())
    scores = logits.double().softmax(1)[:, 1]
    assert figures["average_precision"] == pytest.approx(oracle.average_precision_score(labels, scores), abs=1e-5)
    assert figures["auroc"] == pytest.approx(oracle.roc_auc_score(labels, scores), abs=1e-5)
    fpr, tpr, _ = oracle.roc_curve(labels, scores, drop_intermediate=False)
    assert figures["tpr_at_fpr_1e-2"] == pytest.approx(np.max(tpr[fpr <= 1e-2]), abs=1e-6)


def test_separable_scores_are_perfect_whatever_their_scale() -> None:
    """Distances beyond [0, 1] must not be squashed batch by batch."""
    labels = torch.tensor([0] * 150 + [1] * 50)
    logits = torch.stack([torch.zeros(200), torch.linspace(-100, 100, 200)], 1)
    figures = classification_figures(logits, labels, ("a", "b"))
    for name in ("auroc", "average_precision", "tpr_at_fpr_1e-2"):
        assert figures[name] == pytest.approx(1, abs=1e-6), name


def test_what_cannot_be_known_is_left_out() -> None:
    assert classification_figures(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), "ab") == {}
    one = classification_figures(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), "ab")
    assert one == {"accuracy": 1.0, "balanced_accuracy": 1.0, "recall/a": 1.0}
    labels = torch.tensor([0] * 99 + [1])
    assert tpr_at_fpr(torch.rand(100), labels, 1e-2) is None  # 99 negatives do not resolve 1 in 100
    assert tpr_at_fpr(torch.rand(101), torch.tensor([0] * 100 + [1]), 1e-2) is not None


def test_tpr_at_fpr_by_hand() -> None:
    labels = torch.tensor([0] * 100 + [1] * 4)
    scores = torch.cat([torch.zeros(98), torch.tensor([0.6, 0.8]), torch.tensor([0.9, 0.7, 0.5, 0.1])])
    # One false positive is allowed (0.8), so 0.9 and 0.7 are found before the second (0.6).
    assert tpr_at_fpr(scores, labels, 1e-2) == 0.5


def test_predictions_are_in_order_and_counted_once() -> None:
    predictions = Predictions()
    predictions.update(torch.tensor([[3.0], [1.0]]), torch.tensor([3, 1]), torch.tensor([30, 10]))
    predictions.update(torch.tensor([[2.0], [3.0]]), torch.tensor([2, 3]), torch.tensor([20, 30]))
    logits, labels, index = predictions.compute()
    assert index.tolist() == [10, 20, 30]
    assert labels.tolist() == [1, 2, 3]
    assert logits.flatten().tolist() == [1.0, 2.0, 3.0]


def test_recall_is_torchmetrics_to_the_last_bit() -> None:
    torch.manual_seed(0)
    predicted, labels = torch.randint(0, 7, (200,)), torch.randint(1, 7, (200,))  # class 0 does not occur
    expected = multiclass_recall(predicted, labels, num_classes=7, average="none")
    assert torch.equal(class_recall(predicted, labels, 7), expected)


@pytest.mark.parametrize("deterministic", [False, True])
def test_memory_is_linear_in_the_classes(deterministic: bool) -> None:
    torch.manual_seed(0)
    n, k = 300, 100
    logits, labels = torch.randn(n, k), torch.randint(0, k, (n,))
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic)  # as hardware=cpu does, and then torchmetrics counts in (N, K * K)
    try:
        with LargestTensor() as figures_of:
            figures = classification_figures(logits, labels, [str(i) for i in range(k)])
        with LargestTensor() as confusion_of:
            most_confused(logits.argmax(1), labels, k, 5)
    finally:
        torch.use_deterministic_algorithms(before)
    assert len([name for name in figures if name.startswith("recall/")]) == len(labels.unique())
    assert figures_of.numel <= n + k
    assert confusion_of.numel <= n + k


def test_most_confused_classes_against_the_whole_matrix() -> None:
    torch.manual_seed(0)
    k, count = 12, 4
    predicted, labels = torch.randint(0, k, (300,)), torch.randint(0, k, (300,))
    whole = torch.from_numpy(oracle.confusion_matrix(labels, predicted, labels=list(range(k))))
    off = whole - torch.diag(whole.diagonal())
    errors = off.sum(0) + off.sum(1)
    expected = sorted(sorted(range(k), key=lambda i: (-int(errors[i]), i))[:count])
    chosen, counts = most_confused(predicted, labels, k, count)
    assert chosen.tolist() == expected
    others = [i for i in range(k) if i not in expected]
    assert torch.equal(counts[:count, :count], whole[expected][:, expected])
    assert torch.equal(counts[:count, count], whole[expected][:, others].sum(1))
    assert torch.equal(counts[count, :count], whole[others][:, expected].sum(0))
    assert counts[count, count] == whole.diagonal()[others].sum()

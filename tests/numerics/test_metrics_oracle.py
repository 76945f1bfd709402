"""Metrics against scikit-learn, and SONYC's against a slow reading of its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    auc,
    average_precision_score,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
)

from student.metrics import measure
from student.metrics.interface import Predictions
from student.metrics.per_class import confusion, per_class

FLOAT32 = 2e-6  # torchmetrics sums in float32
Logits, Labels = NDArray[np.float64], NDArray[np.bool_]


@st.composite
def tagged(draw: st.DrawFn) -> Predictions:
    """Multi-label answers; few distinct logits, so that many tie."""
    clips, classes = draw(st.integers(2, 40)), draw(st.integers(2, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = draw(st.sampled_from([2, 5, 1000]))
    logits = 5 * random.integers(-levels, levels, (clips, classes)) / levels
    labels = random.random((clips, classes)) < draw(st.floats(0.05, 0.95))
    labels[0], labels[1] = True, False  # every class has both
    return Predictions(logits, labels, "multi", tuple(map(str, range(classes))))


@st.composite
def single_label(draw: st.DrawFn) -> Predictions:
    """Single-label answers with every class among the labels."""
    classes = draw(st.integers(2, 6))
    target = np.array([*range(classes), *draw(st.lists(st.integers(0, classes - 1), max_size=40))])
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = random.normal(size=(len(target), classes)) * draw(st.sampled_from([0.1, 1, 5]))
    return Predictions(
        logits, np.eye(classes, dtype=bool)[target], "single", tuple("abcdef"[:classes])
    )


def sigmoid(logits: Logits) -> Logits:
    return 1 / (1 + np.exp(-logits))


def softmax(logits: Logits) -> Logits:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def slow_sonyc(scores: Logits, labels: Labels) -> float:
    """Count at every distinct threshold, one at a time, over all categories given."""
    recalls, precisions = [], []
    for threshold in sorted(set(scores.ravel()), reverse=True):
        predicted = scores >= threshold
        hits, false = (predicted & labels).sum(), (predicted & ~labels).sum()
        missed = (~predicted & labels).sum()
        precisions.append(hits / max(hits + false, 0.5))
        recalls.append(hits / max(hits + missed, 0.5))
    order = np.argsort(recalls, kind="stable")
    return float(auc([0, *np.array(recalls)[order], 1], [1, *np.array(precisions)[order], 0]))


@settings(deadline=None, max_examples=60)
@given(tagged())
def test_multi_label_metrics_equal_scikit_learns(predictions: Predictions) -> None:
    scores, labels = sigmoid(predictions.logits_NC), predictions.labels_NC
    for average, name in [("macro", "mAP"), ("micro", "micro-ap")]:
        expected = average_precision_score(labels, scores, average=average)
        assert measure(predictions, name).value == pytest.approx(expected, abs=FLOAT32)
    expected = np.mean([roc_auc_score(labels[:, c], scores[:, c]) for c in range(labels.shape[1])])
    assert measure(predictions, "roc-auc").value == pytest.approx(expected, abs=FLOAT32)


@settings(deadline=None, max_examples=60)
@given(tagged())
def test_sonycs_areas_equal_a_slow_reading_of_the_definition(predictions: Predictions) -> None:
    scores, labels = sigmoid(predictions.logits_NC), predictions.labels_NC
    micro = measure(predictions, "micro-auprc-sonyc").value
    macro = measure(predictions, "macro-auprc-sonyc").value
    assert micro == pytest.approx(slow_sonyc(scores, labels), abs=1e-12)
    each = [slow_sonyc(scores[:, c], labels[:, c]) for c in range(labels.shape[1])]
    assert macro == pytest.approx(np.mean(each), abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(single_label())
def test_single_label_metrics_equal_scikit_learns(predictions: Predictions) -> None:
    target, predicted = predictions.labels_NC.argmax(1), predictions.logits_NC.argmax(1)
    scores, classes = softmax(predictions.logits_NC), list(range(len(predictions.classes)))
    assert measure(predictions).value == pytest.approx(accuracy_score(target, predicted))
    expected = average_precision_score(predictions.labels_NC, scores, average="macro")
    assert measure(predictions, "mAP").value == pytest.approx(expected, abs=FLOAT32)
    found = confusion(predictions)
    assert found is not None
    assert np.array_equal(found, confusion_matrix(target, predicted, labels=classes))


@settings(deadline=None, max_examples=60)
@given(st.one_of(tagged(), single_label()))
def test_a_classs_scores_equal_scikit_learns(predictions: Predictions) -> None:
    predicted = predictions.logits_NC > 0
    if predictions.task == "single":
        predicted = np.eye(len(predictions.classes), dtype=bool)[predictions.logits_NC.argmax(1)]
    expected = precision_recall_fscore_support(predictions.labels_NC, predicted, zero_division=0.0)
    rows = per_class(predictions)
    for found, wanted in [
        ([row.precision or 0.0 for row in rows], expected[0]),
        ([row.recall for row in rows], expected[1]),
        ([row.f1 for row in rows], expected[2]),
        ([row.positives for row in rows], expected[3]),
    ]:
        assert found == pytest.approx(wanted.tolist())

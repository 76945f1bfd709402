"""Accuracy of a single-label task."""

from __future__ import annotations

from student.metrics.interface import MetricValue, Predictions, for_task


@for_task("single")
def accuracy(predictions: Predictions) -> MetricValue:
    """Share of clips whose likeliest class is theirs; of equal logits the first class counts."""
    right_N = predictions.logits_NC.argmax(1) == predictions.labels_NC.argmax(1)
    return MetricValue(float(right_N.mean()))

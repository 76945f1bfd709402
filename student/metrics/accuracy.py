"""Accuracy of a single-label task."""

from __future__ import annotations

from cache_schema.scores import top_1_hits
from student.metrics.interface import MetricValue, Predictions, for_task


@for_task("single")
def accuracy(predictions: Predictions) -> MetricValue:
    """Share of clips whose likeliest class is theirs; of equal logits the first class counts."""
    return MetricValue(float(top_1_hits(predictions.logits_NC, predictions.labels_NC).mean()))

"""How each class fares, and which classes are taken for which.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from student.metrics.average_precision import class_average_precisions
from student.metrics.interface import Predictions
from student.metrics.roc import class_roc_aucs


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of one class against all others; None where one is not defined.

    Attributes
    ----------
    name : str
        The class.
    positives : int
        Clips that have it.
    average_precision, roc_auc : float or None
        Of its ranking of the clips; None without positives (or, for the second, negatives).
    precision : float or None
        Share of the clips predicted to have it that do; None if it was predicted for none.
    recall : float or None
        Share of its clips found; in a single-label task this is the accuracy on the class.
    f1 : float or None
        Harmonic mean of both; 0 where nothing is found, None without positives.
    """

    name: str
    positives: int
    average_precision: float | None
    roc_auc: float | None
    precision: float | None
    recall: float | None
    f1: float | None


def per_class(predictions: Predictions) -> list[ClassScores]:
    """Score each class; decisions are as `Predictions.decisions` takes them."""
    predicted_NC, labels_NC = predictions.decisions(), predictions.labels_NC
    hits_C = (predicted_NC & labels_NC).sum(0).tolist()
    predicted_C, positives_C = predicted_NC.sum(0).tolist(), labels_NC.sum(0).tolist()
    precisions_C = class_average_precisions(predictions).tolist()
    areas_C = class_roc_aucs(predictions).tolist()
    return [
        ClassScores(
            name=name,
            positives=positives_C[c],
            average_precision=_defined(precisions_C[c]),
            roc_auc=_defined(areas_C[c]),
            precision=hits_C[c] / predicted_C[c] if predicted_C[c] else None,
            recall=hits_C[c] / positives_C[c] if positives_C[c] else None,
            f1=2 * hits_C[c] / (predicted_C[c] + positives_C[c]) if positives_C[c] else None,
        )
        for c, name in enumerate(predictions.classes)
    ]


def confusion(predictions: Predictions) -> NDArray[np.int64] | None:
    """Count clips by their class (row) and the class predicted (column), (C, C).

    None in a multi-label task: where several classes are right, no one was taken for another.
    """
    if predictions.task == "multi":
        return None
    classes = len(predictions.classes)
    pairs_N = predictions.labels_NC.argmax(1) * classes + predictions.logits_NC.argmax(1)
    return np.bincount(pairs_N, minlength=classes**2).reshape(classes, classes)


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value

"""How each class fares, what is taken for what, and how far confidence can be believed.

Shape suffixes: C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cache_schema.report.charts.base import Chart
from cache_schema.report.charts.lines import Reliability, reliability_chart
from cache_schema.report.charts.matrix import confusion_chart
from cache_schema.report.charts.scores import ClassValues, class_chart
from student.metrics.calibration import calibration
from student.metrics.interface import Predictions
from student.metrics.per_class import ClassScores, confusion, per_class

CHART_CLASSES = 60
MATRIX_CLASSES = 40
ABSENT = "-"


def class_charts(found: Mapping[str, Predictions]) -> dict[str, Chart]:
    """Draw what `found` has: predictions of each model by its name, the student's first."""
    student = next(iter(found.values()))
    charts = {
        "classes": class_chart(_class_rows(found), "F1 of the class"),
        "reliability": reliability_chart(
            [_reliability(name, predictions) for name, predictions in found.items()]
        ),
    }
    matrix_CC = confusion(student)
    if matrix_CC is not None:
        chosen = _most_confused(matrix_CC)
        names = [student.classes[c] for c in chosen]
        charts["confusion"] = confusion_chart(matrix_CC[np.ix_(chosen, chosen)], names)
    return charts


def _class_rows(found: Mapping[str, Predictions]) -> list[ClassValues]:
    scores = {name: _by_class(predictions) for name, predictions in found.items()}
    student = next(iter(scores.values()))
    order = sorted(student.values(), key=lambda row: (row.f1 is None, row.f1 or 0.0, row.name))
    return [
        ClassValues(
            row.name,
            row.positives,
            {model: own[row.name].f1 for model, own in scores.items() if row.name in own},
        )
        for row in order[:CHART_CLASSES]
    ]


def _by_class(predictions: Predictions) -> dict[str, ClassScores]:
    return {row.name: row for row in per_class(predictions)}


def _most_confused(matrix_CC: np.ndarray[Any, Any]) -> list[int]:
    """Classes of the picture, in their order: all, or of very many those with most confusions."""
    wrong_CC = matrix_CC * ~np.eye(len(matrix_CC), dtype=np.bool_)
    confusions_C = wrong_CC.sum(0) + wrong_CC.sum(1)
    return sorted(np.argsort(-confusions_C, kind="stable")[:MATRIX_CLASSES].tolist())


def _reliability(name: str, predictions: Predictions) -> Reliability:
    found = calibration(predictions)
    return Reliability(
        name,
        found.confidence_K.tolist(),
        found.right_K.tolist(),
        found.count_K.tolist(),
    )


def class_table(found: Mapping[str, Predictions]) -> dict[str, Any]:
    """Lay out every class from the weakest on, in figures."""
    student = next(iter(found.values()))
    others = {name: _by_class(p) for name, p in list(found.items())[1:]}
    head = ["class", "clips", "precision", "recall", "F1", "AP", "ROC-AUC"]
    head += [f"{name} F1" for name in others]
    order = sorted(per_class(student), key=lambda row: (row.f1 is None, row.f1 or 0.0, row.name))
    rows = [
        [
            row.name,
            row.positives,
            *map(_text, (row.precision, row.recall, row.f1, row.average_precision, row.roc_auc)),
            *(_text(own[row.name].f1 if row.name in own else None) for own in others.values()),
        ]
        for row in order
    ]
    return {"head": head, "rows": rows}


def calibration_words(found: Mapping[str, Predictions]) -> str:
    """State each model's expected calibration error."""
    errors = [f"{name} {calibration(p).error:.3f}" for name, p in found.items()]
    return f"Expected calibration error (ECE): {', '.join(errors)}."


def _text(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"

"""How each class fares, what is taken for what, and how far confidence can be believed.

Shape suffixes: C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache_schema.report.charts.base import Chart
from cache_schema.report.charts.lines import Reliability, reliability_chart
from cache_schema.report.charts.matrix import confusion_chart
from cache_schema.report.charts.scores import ClassValues, class_chart
from student.compare.table import ABSENT
from student.metrics.calibration import BINS, Calibration, calibration
from student.metrics.interface import Predictions
from student.metrics.per_class import ClassScores, confusion, per_class

CHART_CLASSES = 60
MATRIX_CLASSES = 40


def class_charts(found: Mapping[str, Predictions]) -> dict[str, Chart]:
    """Draw what `found` has: predictions of each model by its name, the student's first."""
    student = next(iter(found.values()))
    score = class_score(student.task)
    charts = {
        "classes": class_chart(_class_rows(found), score.words),
        "reliability": reliability_chart(
            [_reliability(name, calibration(predictions)) for name, predictions in found.items()]
        ),
    }
    matrix_CC = confusion(student)
    if matrix_CC is not None:
        chosen = _most_confused(matrix_CC)
        names = [student.classes[c] for c in chosen]
        charts["confusion"] = confusion_chart(matrix_CC[np.ix_(chosen, chosen)], names)
    return charts


@dataclass(frozen=True, slots=True)
class ClassScore:
    """What a class is judged by: in a multi-label task no threshold, which nobody has chosen yet."""

    words: str
    of: Callable[[ClassScores], float | None]


def class_score(task: str) -> ClassScore:
    """The score of a class that a task's charts show."""
    if task == "multi":
        return ClassScore("average precision of the class", lambda row: row.average_precision)
    return ClassScore("F1 of the class", lambda row: row.f1)


def _class_rows(found: Mapping[str, Predictions]) -> list[ClassValues]:
    scores = {name: _by_class(predictions) for name, predictions in found.items()}
    of = class_score(next(iter(found.values())).task).of
    return [
        ClassValues(
            row.name,
            row.positives,
            {model: of(own[row.name]) for model, own in scores.items() if row.name in own},
        )
        for row in _weakest_first(next(iter(found.values())))[:CHART_CLASSES]
    ]


def _weakest_first(student: Predictions) -> list[ClassScores]:
    of = class_score(student.task).of
    return sorted(per_class(student), key=lambda row: (of(row) is None, of(row) or 0.0, row.name))


def _by_class(predictions: Predictions) -> dict[str, ClassScores]:
    return {row.name: row for row in per_class(predictions)}


def _most_confused(matrix_CC: np.ndarray[Any, Any]) -> list[int]:
    """Classes of the picture, in their order: all, or of very many those with most confusions."""
    wrong_CC = matrix_CC * ~np.eye(len(matrix_CC), dtype=np.bool_)
    confusions_C = wrong_CC.sum(0) + wrong_CC.sum(1)
    return sorted(np.argsort(-confusions_C, kind="stable")[:MATRIX_CLASSES].tolist())


def _reliability(name: str, found: Calibration) -> Reliability:
    return Reliability(
        name, found.confidence_K.tolist(), found.right_K.tolist(), found.count_K.tolist()
    )


def class_table(found: Mapping[str, Predictions]) -> dict[str, Any]:
    """Lay out every class from the weakest on, in figures."""
    student = next(iter(found.values()))
    of, name = class_score(student.task).of, "AP" if student.task == "multi" else "F1"
    others = {model: _by_class(p) for model, p in list(found.items())[1:]}
    head = ["class", "clips", "precision", "recall", "F1", "AP", "ROC-AUC"]
    head += [f"{model} {name}" for model in others]
    rows = [
        [
            row.name,
            row.positives,
            *map(
                score_text, (row.precision, row.recall, row.f1, row.average_precision, row.roc_auc)
            ),
            *(
                score_text(of(own[row.name]) if row.name in own else None)
                for own in others.values()
            ),
        ]
        for row in _weakest_first(student)
    ]
    return {"head": head, "rows": rows}


def calibration_words(found: Mapping[str, Predictions]) -> str:
    """State each model's expected calibration error."""
    errors = [f"{name} {calibration(p).error:.3f}" for name, p in found.items()]
    each = " Each class of each clip counts." if next(iter(found.values())).task == "multi" else ""
    return f"Expected calibration error (ECE, {BINS} bins): {', '.join(errors)}.{each}"


def score_text(value: float | None) -> str:
    """Write a score for a table."""
    return ABSENT if value is None else f"{value:.3f}"

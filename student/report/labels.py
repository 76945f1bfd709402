"""What a multi-label task has in place of confusions: thresholds and calibration label by label.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from cache_schema.report.charts.base import Chart
from cache_schema.report.charts.lines import Reliability, reliability_chart
from cache_schema.report.charts.scores import ClassValues, class_chart
from student.metrics.calibration import Calibration, calibration
from student.metrics.interface import Predictions
from student.metrics.per_class import per_class
from student.metrics.thresholds import best_thresholds, f1_above
from student.report.classes import CHART_CLASSES, score_text

DRAWN_LABELS = 6  # lines that can be told from each other
LABEL_BINS = 5  # of one label there are few predictions that are sure


@dataclass(frozen=True, slots=True)
class LabelRow:
    """How one label is decided.

    Attributes
    ----------
    name : str
    clips : int
        That have it.
    f1 : float or None
        Above a probability of one half.
    threshold, own_f1 : float or None
        Chosen on validation, and the F1 above it.
    calibration : Calibration
        Of its probabilities.
    """

    name: str
    clips: int
    f1: float | None
    threshold: float | None
    own_f1: float | None
    calibration: Calibration


def label_rows(student: Predictions, chosen_on: Predictions | None) -> list[LabelRow]:
    """Judge each label of a student, with thresholds from other clips than these.

    Parameters
    ----------
    student : Predictions
        Of the split that is shown.
    chosen_on : Predictions or None
        Of validation; None where that is the split shown, or not there.
    """
    thresholds = best_thresholds(chosen_on) if chosen_on else [None] * len(student.classes)
    columns = zip(per_class(student), thresholds, f1_above(student, thresholds), strict=True)
    return [
        LabelRow(row.name, row.positives, row.f1, threshold, own, _of_label(student, c))
        for c, (row, threshold, own) in enumerate(columns)
    ]


def _of_label(student: Predictions, c: int) -> Calibration:
    own = replace(
        student,
        logits_NC=student.logits_NC[:, c : c + 1],
        labels_NC=student.labels_NC[:, c : c + 1],
        classes=(student.classes[c],),
    )
    return calibration(own, LABEL_BINS)


def label_charts(rows: list[LabelRow]) -> dict[str, Chart]:
    """Draw F1 at both thresholds, and the reliability of the labels that are least calibrated."""
    worst = sorted(rows, key=lambda row: -row.calibration.error)[:DRAWN_LABELS]
    lines = [
        Reliability(
            row.name,
            row.calibration.confidence_K.tolist(),
            row.calibration.right_K.tolist(),
            row.calibration.count_K.tolist(),
        )
        for row in worst
    ]
    charts = {"label_reliability": reliability_chart(lines)}
    if any(row.threshold is not None for row in rows):
        weakest = sorted(rows, key=lambda row: (row.f1 is None, row.f1 or 0.0, row.name))
        values = [
            ClassValues(
                row.name, row.clips, {"above one half": row.f1, "above its own": row.own_f1}
            )
            for row in weakest[:CHART_CLASSES]
        ]
        charts["thresholds"] = class_chart(values, "F1 of the class")
    return charts


def label_table(rows: list[LabelRow]) -> dict[str, Any]:
    """Lay out every label in figures."""
    head = [
        "class",
        "clips",
        "F1 above 0.5",
        "threshold",
        "F1 above it",
        f"ECE ({LABEL_BINS} bins)",
    ]
    return {
        "head": head,
        "rows": [
            [row.name, row.clips, score_text(row.f1), score_text(row.threshold), score_text(row.own_f1),
             score_text(row.calibration.error)]
            for row in rows
        ],
    }  # fmt: skip

"""Everything known of a student's predictions beside its teacher's: as tables and as JSON.

Shape suffixes: C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cache_schema.text import one_line
from student.metrics import measure_all, metrics_of
from student.metrics.interface import Predictions
from student.metrics.per_class import ClassScores, confusion, per_class
from student.metrics.per_group import GroupScore

MATRIX_CLASSES = 20
CONFUSIONS = 20
GROUPS = 20


def score_document(student: Predictions, teacher: Predictions | None) -> dict[str, Any]:
    """Collect all metrics, the scores of each class and the confusion matrices, ready for JSON.

    Confusion matrices are lists of rows, one for each true class; ``null`` in a multi-label task. A
    value that is not defined is ``null``, an infinite one ``"inf"`` or ``"-inf"``.
    """
    both = {"student": student, "teacher": teacher}
    scores = measure_all(student)
    of_teacher = None if teacher is None else measure_all(teacher)
    return {
        "classes": list(student.classes),
        "scores": {name: score.json_value for name, score in scores.items()},
        "teacher_scores": of_teacher
        and {name: score.json_value for name, score in of_teacher.items()},
        "left_out_of": {name: list(score.left_out) for name, score in scores.items()},
        "teacher_uncovered": teacher and list(teacher.uncovered),
        "per_class": {
            who: predictions and [asdict(row) for row in per_class(predictions)]
            for who, predictions in both.items()
        },
        "confusion": {who: _matrix_rows(predictions) for who, predictions in both.items()},
    }


def _matrix_rows(predictions: Predictions | None) -> list[list[int]] | None:
    matrix_CC = None if predictions is None else confusion(predictions)
    return None if matrix_CC is None else [[int(n) for n in row] for row in matrix_CC]


def group_document(groups: Sequence[GroupScore]) -> list[dict[str, Any]]:
    """Scores of groups, the weakest first, ready for JSON."""
    return [asdict(group) for group in groups]


def group_line(groups: Sequence[GroupScore]) -> str:
    """Say in a line how far groups are apart: the weakest, the best, and their spread."""
    scored = [group for group in groups if group.score is not None]
    if not scored:
        return f"{len(groups)} group(s), none with a score"
    values = [group.score for group in scored if group.score is not None]
    spread = f", sd {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    ends = f"weakest {_group_text(scored[0])}, best {_group_text(scored[-1])}"
    return f"{len(groups)} group(s): {ends}{spread}"


def _group_text(group: GroupScore) -> str:
    return f"{one_line(group.name)} {group.score:.4f} (n {group.clips})"


def score_tables(
    student: Predictions, teacher: Predictions | None, groups: Sequence[GroupScore] = ()
) -> Group:
    """Lay out all metrics, the classes and groups from the weakest on, and what was taken for what."""
    parts: list[RenderableType] = [
        *_metric_table(student, teacher),
        "",
        *_class_table(student, teacher),
        "",
        *_group_table(groups),
    ]
    return Group(*parts, *_confusions(student))


def _metric_table(student: Predictions, teacher: Predictions | None) -> Iterator[RenderableType]:
    table = Table("metric", box=None)
    table.add_column("student", justify="right")
    table.add_column("teacher", justify="right")
    found = {who: measure_all(a) for who, a in (("student", student), ("teacher", teacher)) if a}
    names = metrics_of(student.task)
    for name in names:
        values = [scores[name].value for scores in found.values()]
        table.add_row(name, *map(_number, values), *["-"] * (2 - len(values)))
    remarks: dict[str, list[str]] = {}
    for who, scores in found.items():
        for name in names:
            for remark in scores[name].remarks:
                remarks.setdefault(f"{who}: {remark}", []).append(name)
    yield table
    for remark, concerned in remarks.items():
        tail = "" if concerned == names else f" ({', '.join(concerned)})"
        yield Text(one_line(f"  {remark}{tail}"))
    if teacher is None:
        yield "  The cache has no teacher's logits for these classes."


def _class_table(student: Predictions, teacher: Predictions | None) -> Iterator[RenderableType]:
    of_teacher = {row.name: row for row in per_class(teacher)} if teacher else {}
    table = Table("class", box=None)
    for name in ("clips", "AP", "ROC-AUC", "precision", "recall", "F1", "teacher F1"):
        table.add_column(name, justify="right")
    for row in sorted(per_class(student), key=_weakest_first):
        f1 = of_teacher[row.name].f1 if row.name in of_teacher else None
        scores = (row.average_precision, row.roc_auc, row.precision, row.recall, row.f1, f1)
        table.add_row(Text(one_line(row.name)), str(row.positives), *map(_number, scores))
    yield table
    if student.task == "single":
        yield "  The recall of a class is the accuracy on its clips."
    else:
        yield "  A class is predicted for a clip where its probability is above one half."


def _group_table(groups: Sequence[GroupScore]) -> Iterator[RenderableType]:
    if not groups:
        return
    table = Table("group", box=None)
    for name in ("clips", "score"):
        table.add_column(name, justify="right")
    for group in groups[:GROUPS]:
        table.add_row(Text(one_line(group.name)), str(group.clips), _number(group.score))
    yield table
    if len(groups) > GROUPS:
        yield f"  The weakest of {len(groups)} groups; all of them: --json"
    yield ""


def _confusions(student: Predictions) -> Iterator[RenderableType]:
    matrix_CC = confusion(student)
    if matrix_CC is None:
        yield "No confusion matrix: clips of a multi-label task have several right classes."
    elif len(matrix_CC) <= MATRIX_CLASSES:
        yield from _matrix_table(student.classes, matrix_CC)
    else:
        yield from _pair_table(student.classes, matrix_CC)


def _matrix_table(
    classes: tuple[str, ...], matrix_CC: NDArray[np.int64]
) -> Iterator[RenderableType]:
    yield "Rows: the clips' class. Columns: the class the student predicted, by number."
    table = Table("", "class", box=None)
    for number in range(1, len(classes) + 1):
        table.add_column(str(number), justify="right")
    for number, (name, row_C) in enumerate(zip(classes, matrix_CC.tolist(), strict=True), 1):
        table.add_row(str(number), Text(one_line(name)), *(str(n) if n else "." for n in row_C))
    yield table


def _pair_table(classes: tuple[str, ...], matrix_CC: NDArray[np.int64]) -> Iterator[RenderableType]:
    """List the most frequent confusions; a matrix of many classes fits no screen."""
    wrong_CC = matrix_CC * ~np.eye(len(classes), dtype=np.bool_)
    order = np.argsort(-wrong_CC, axis=None, kind="stable")[:CONFUSIONS]
    places = [divmod(int(place), len(classes)) for place in order]
    clips, pairs = int(wrong_CC.sum()), int(np.count_nonzero(wrong_CC))
    more = f"; the commonest {CONFUSIONS} of {pairs} pairs, all of them: --json"
    yield f"{clips} clip(s) taken for another class{more if pairs > CONFUSIONS else ''}"
    table = Table("class", "taken for", box=None)
    table.add_column("clips", justify="right")
    for truth, predicted in places:
        if wrong_CC[truth, predicted]:
            table.add_row(
                Text(one_line(classes[truth])),
                Text(one_line(classes[predicted])),
                str(wrong_CC[truth, predicted]),
            )
    yield table


def _weakest_first(row: ClassScores) -> tuple[bool, float, str]:
    return row.f1 is None, row.f1 or 0.0, row.name


def _number(value: float | None) -> str:
    return "-" if value is None or isnan(value) else f"{value:.4f}"

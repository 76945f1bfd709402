"""How each speaker, session or place fares, where the corpus names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cache_schema.reader import Cache
from cache_schema.report.charts.base import Chart
from cache_schema.report.charts.scores import ClassValues, class_chart
from student.metrics import is_share
from student.metrics.interface import Predictions
from student.metrics.per_group import GroupScore, groups_of, per_group
from student.report.classes import score_text

CHART_GROUPS = 40


def group_scores(
    found: Mapping[str, Predictions], cache: Cache, metric: str
) -> dict[str, list[GroupScore]]:
    """Scores of each model's groups, the student's first; empty where no clip has a group."""
    groups = {name: groups_of(cache, predictions) for name, predictions in found.items()}
    if not any(groups.values()):
        return {}
    return {name: per_group(found[name], own, metric) for name, own in groups.items()}


def group_chart(scores: Mapping[str, list[GroupScore]], metric: str) -> Chart:
    """Draw the student's weakest groups, with each model's score of them."""
    of_model = {model: {g.name: g.score for g in own} for model, own in scores.items()}
    rows = [
        ClassValues(
            group.name, group.clips, {model: own.get(group.name) for model, own in of_model.items()}
        )
        for group in next(iter(scores.values()))[:CHART_GROUPS]
    ]
    if is_share(metric):
        return class_chart(rows, metric)
    values = [value for row in rows for value in row.values.values() if value is not None] or [0.0]
    return class_chart(rows, metric, (min(values) - 0.1, max(values) + 0.1))


def group_table(scores: Mapping[str, list[GroupScore]], metric: str) -> dict[str, Any]:
    """Lay out every group from the weakest on, in figures."""
    of_model = {model: {g.name: g.score for g in own} for model, own in scores.items()}
    head = ["group", "clips", *(f"{model} {metric}" for model in of_model)]
    rows = [
        [group.name, group.clips, *(score_text(own.get(group.name)) for own in of_model.values())]
        for group in next(iter(scores.values()))
    ]
    return {"head": head, "rows": rows}


def group_words(scores: Mapping[str, list[GroupScore]]) -> str:
    """State how far each model's groups are apart."""
    return "; ".join(filter(None, (_spread(name, own) for name, own in scores.items()))) + "."


def _spread(name: str, own: list[GroupScore]) -> str:
    values = [group.score for group in own if group.score is not None]
    if not values:
        return ""
    deviation = f", standard deviation {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{name}: {min(values):.3f} to {max(values):.3f} over {len(values)} groups{deviation}"

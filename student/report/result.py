"""What a report begins with: student beside teacher and undistilled twin, with intervals, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cache_schema.report.charts.base import Chart
from cache_schema.report.charts.scores import Spread, spread_chart
from cache_schema.report.page import Card
from student.compare.conditions import NONE
from student.compare.statistics import mean, standard_deviation
from student.compare.table import (
    ABSENT,
    TableRow,
    interval_text,
    points,
    spread_text,
)
from student.metrics import is_share
from student.metrics.chance import CHANCE, chance_level
from student.metrics.interface import Predictions
from student.report.blocks import Block


def cards(block: Block) -> list[Card]:
    """The student that is shown, its twin, what is between them, and the teacher."""
    row = block.row
    found = [_card("student", "distilled student", row)]
    plain = next((r for r in block.rows if str(r.condition) == NONE), None)
    if str(row.condition) == NONE:
        found = [_card("student", "undistilled student", row)]
    elif plain is not None and plain.found:
        found.append(_card("twin", "undistilled twin", plain))
        if row.gain is not None:
            found.append(Card("gain", "gain", f"{points(row.gain.mean, row.metric, signed=True)}",
                              _gain_note(row)))  # fmt: skip
    if row.teacher is not None:
        value = f"{points(row.teacher, row.metric)}{_unit(row.metric)}"
        found.append(Card("teacher", "teacher", value, f"{row.metric} on the same clips"))
    return found


def _card(kind: str, who: str, row: TableRow) -> Card:
    if not row.found:
        return Card(kind, who, ABSENT, "no score")
    spread = standard_deviation(row.found)
    seeds = f"{len(row.found)} seed{'s' if len(row.found) > 1 else ''}"
    note = f"{row.metric}, {seeds}" + (f", sd {points(spread, row.metric)}" if spread else "")
    if str(row.condition) != NONE:
        note += f"; learned from {row.condition}"
    return Card(kind, who, f"{points(mean(row.found), row.metric)}{_unit(row.metric)}", note)


def _gain_note(row: TableRow) -> str:
    gain = row.gain
    if gain is None or gain.half_width is None:
        return "no interval: fewer than three pairs of runs"
    return f"95 % interval {_ends(row)}" + ("" if gain.shown else "; no difference shown")


def _unit(metric: str) -> str:
    return " %" if is_share(metric) else ""


def sentences(block: Block) -> list[str]:
    """Say for each thing that was learned from what its intervals bear out, and no more."""
    if not any(row.found for row in block.rows):
        return ["No run has a score: the split has no labelled clips."]
    found = [_sentence(row) for row in block.rows if row.found and str(row.condition) != NONE]
    if not any(row.found for row in block.rows if str(row.condition) == NONE):
        found.append(
            "No undistilled twin is among the runs, so what distillation brings is not known: train one "
            "by the same command without --distill, and give its folder too. A run that was given more "
            "epochs needs a twin that was given them after the same one."
        )
    return found


def chance_words(found: Mapping[str, Predictions], metric: str) -> list[str]:
    """Say what the metric gives without any knowledge, where that is known."""
    chance = chance_level(next(iter(found.values())).labels_NC, metric)
    if chance is None:
        return []
    return [f"By chance ({CHANCE[metric][1]}) it would be {points(chance, metric)}{_unit(metric)}."]


def _sentence(row: TableRow) -> str:
    metric, own = row.metric, mean(row.found)
    message = (
        f"Learning from {row.condition}, the student reaches {points(own, metric)}{_unit(metric)}"
    )
    if row.gain is not None:
        more = "more" if row.gain.mean >= 0 else "less"
        size = points(abs(row.gain.mean), metric)
        message += f", {size} points {more} than undistilled: {_shown(row)}"
    if row.teacher is not None:
        place = "above" if own > row.teacher else "below"
        apart = points(abs(own - row.teacher), metric)
        message += (
            f". The teacher is at {points(row.teacher, metric)}{_unit(metric)}; the student is "
        )
        message += f"{apart} points {place} it"
    return f"{message}."


def _shown(row: TableRow) -> str:
    """What an interval bears out."""
    gain = row.gain
    if gain is None or gain.half_width is None:
        return "no interval, from fewer than three pairs of runs"
    if not gain.shown:
        return f"no difference shown, the 95 % interval {_ends(row)} contains 0"
    return f"the 95 % interval is {_ends(row)}"


def _ends(row: TableRow) -> str:
    gain = row.gain
    assert gain is not None
    assert gain.half_width is not None
    ends = (gain.mean - gain.half_width, gain.mean + gain.half_width)
    return " to ".join(points(end, row.metric, signed=True) for end in ends)


def result_table(block: Block) -> dict[str, Any]:
    """Lay out what `summary` sums up, one line for each thing that was learned from."""
    metric = block.rows[0].metric
    head = [
        "learned from",
        f"{block.split} {metric}",
        "gain over none [95 %]",
        "each seed",
        "teacher",
    ]
    lines = [
        [
            str(row.condition),
            spread_text(row),
            interval_text(row.gain, metric) if row.gain else "",
            ", ".join(points(score, metric) for score in row.scores),
            points(row.teacher, metric),
        ]
        for row in block.rows
    ]
    return {"head": head, "rows": lines}


def result_charts(block: Block) -> dict[str, Chart]:
    """Scores of all seeds beside the teacher's, and gains with their intervals around nothing."""
    metric = block.rows[0].metric
    scale = 100 if is_share(metric) else 1
    label = f"{block.split} {metric}{_unit(metric)}"
    rows = [
        Spread(str(row.condition), [scale * s for s in row.found], scale * mean(row.found))
        for row in block.rows
        if row.found
    ]
    teacher, charts = block.row.teacher, dict[str, Chart]()
    if rows and teacher is not None:
        charts["scores"] = spread_chart(rows, label, scale * teacher, "teacher")
    gains = [_gain_spread(row, scale) for row in block.rows if row.gain]
    if gains:
        charts["gains"] = spread_chart(gains, f"gain in {label}", 0.0, "undistilled")
    return charts


def _gain_spread(row: TableRow, scale: float) -> Spread:
    assert row.gain is not None
    middle, half = row.gain.mean, row.gain.half_width
    ends = (None, None) if half is None else (scale * (middle - half), scale * (middle + half))
    each = [scale * difference for difference in row.gain.differences]
    return Spread(str(row.condition), each, scale * middle, *ends)

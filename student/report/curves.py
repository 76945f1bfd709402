"""Curves of a training, from the runs' own logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cache_schema.report.charts.base import Chart
from cache_schema.report.charts.lines import Line, line_chart
from student.compare.conditions import NONE
from student.report.blocks import Block
from student.report.run_folder import RunFolder
from student.training.loop import TRAIN_LOSS, VALIDATION, VALIDATION_LOSS

SCALE_SPAN = 20  # losses further apart than this are drawn on a logarithmic axis
LABELS = f"{TRAIN_LOSS}labels"
TEACHER = f"teacher_{VALIDATION}"


def curve_charts(block: Block) -> dict[str, Chart]:
    """Draw the metric by epoch of all runs, and losses and rate of the one in detail."""
    metric = f"{VALIDATION}_{block.rows[0].metric}"
    charts = {
        "metric": line_chart(_metric_lines(block, metric), "epoch", metric.replace("_", " ")),
        "losses": _loss_chart(_label_losses(block)),
        "each_loss": _loss_chart(_each_loss(block.shown)),
        "rate": line_chart(
            _lines(block.shown, {"learning_rate": "learning rate"}), "epoch", "learning rate"
        ),
    }
    return {name: chart for name, chart in charts.items() if chart.legend}


def _metric_lines(block: Block, metric: str) -> list[Line]:
    lines = [
        Line(_group_name(block, text), *_series(run, metric), detail=f"seed {run.seed}")
        for text, group in block.runs.items()
        for run in group
    ]
    return [line for line in [*lines, Line("teacher", *_series(block.shown, TEACHER), dash="dashed")]
            if line.x]  # fmt: skip


def _group_name(block: Block, text: str) -> str:
    """Name of a group in a legend: the shown one's and the twin's colours are the report's own."""
    if text == NONE:
        return "undistilled"
    return "distilled" if len(block.runs) <= 2 else text


def _label_losses(block: Block) -> list[Line]:
    """Label loss in training and validation, of the student and its twin."""
    runs = {"distilled" if block.shown.distilled else "undistilled": block.shown}
    if block.twin is not None:
        runs["undistilled"] = block.twin
    return [
        line
        for name, run in runs.items()
        for line in (
            Line(f"{name}, training", *_series(run, LABELS), dash="dashed", model=name),
            Line(f"{name}, validation", *_series(run, VALIDATION_LOSS), model=name),
        )
        if line.x
    ]


def _each_loss(run: RunFolder) -> list[Line]:
    names = dict.fromkeys(key for entry in run.history for key in entry)
    wanted = {n: n.removeprefix(TRAIN_LOSS) for n in names if n.startswith(TRAIN_LOSS)}
    return _lines(run, wanted)


def _lines(run: RunFolder, wanted: dict[str, str]) -> list[Line]:
    return [Line(name, *_series(run, key)) for key, name in wanted.items() if _series(run, key)[0]]


def _series(run: RunFolder, key: str) -> tuple[list[float], list[float]]:
    """Epochs that have a finite number for `key`, and these."""
    found: list[tuple[Any, Any]] = [(entry["epoch"], entry.get(key)) for entry in run.history]
    numbers = [(float(x), float(y)) for x, y in found if isinstance(y, float | int)]
    return [x for x, _ in numbers], [y for _, y in numbers]


def _loss_chart(lines: Sequence[Line]) -> Chart:
    values = [y for line in lines for y in line.y]
    wide = bool(values) and min(values) > 0 and max(values) > SCALE_SPAN * min(values)
    return line_chart(lines, "epoch", "loss", logarithmic=wide)

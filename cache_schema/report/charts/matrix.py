"""The confusion matrix as a picture.

Shape suffixes: C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, LinearColorMapper
from bokeh.palettes import Blues256
from bokeh.transform import transform
from numpy.typing import NDArray

from cache_schema.report.charts.base import (
    Chart,
    Static,
    add_hover,
    chart_text,
    new_chart,
    rows_inches,
    short_text,
)
from cache_schema.text import plot_text

COUNTED_CLASSES = 15  # of more classes a cell is too small for its number
CELL_HEIGHT, FRAME_HEIGHT = 24, 110  # pixels
DARK_CELL = 0.55


def confusion_chart(matrix_CC: NDArray[np.int64], classes: Sequence[str]) -> Chart:
    """Draw clips by their class (rows) and the class predicted, coloured by their share of the row."""
    numbers = list(range(len(classes)))
    shown = [short_text(name) for name in classes]
    chart = new_chart(
        "predicted",
        "true class",
        height=FRAME_HEIGHT + max(220, CELL_HEIGHT * len(classes)),
        x_range=(-0.5, len(classes) - 0.5),
        y_range=(len(classes) - 0.5, -0.5),
    )
    source = ColumnDataSource(_cells(matrix_CC, [chart_text(name) for name in classes]))
    ink = LinearColorMapper(palette=tuple(reversed(Blues256)), low=0, high=1)
    cells = chart.rect(
        "predicted",
        "true",
        1,
        1,
        source=source,
        fill_color=transform("share", ink),
        line_color=None,
    )
    if len(classes) <= COUNTED_CLASSES:
        style = {"text_align": "center", "text_baseline": "middle", "text_font_size": "12px"}
        chart.text("predicted", "true", "text", text_color="ink", source=source, **style)
    for axis in (chart.xaxis[0], chart.yaxis[0]):
        axis.ticker = numbers
        axis.major_label_overrides = dict(zip(numbers, shown, strict=True))
    chart.xaxis.major_label_orientation = "vertical"
    chart.grid.visible = False
    lines = [
        ("true", "@row"),
        ("predicted", "@column"),
        ("clips", "@count"),
        ("share", "@share{0 %}"),
    ]
    add_hover(chart, [cells], lines)
    draw = partial(_static_confusion, matrix_CC, shown)
    return Chart(chart, Static(draw, rows_inches(len(classes)) + 1.2))


def _static_confusion(matrix_CC: NDArray[np.int64], classes: Sequence[str], axis: Any) -> None:
    shares_CC = _shares(matrix_CC)
    axis.imshow(shares_CC, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if len(classes) <= COUNTED_CLASSES:
        for row, column in np.argwhere(matrix_CC).tolist():
            ink = "white" if shares_CC[row, column] > DARK_CELL else "black"
            axis.text(column, row, matrix_CC[row, column], color=ink, ha="center", va="center")
    names = [plot_text(name) for name in classes]
    axis.set_xticks(range(len(names)), names, rotation=90)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="predicted", ylabel="true class")


def _cells(matrix_CC: NDArray[np.int64], classes: Sequence[str]) -> dict[str, list[Any]]:
    shares_CC = _shares(matrix_CC)
    rows, columns = (grid.reshape(-1).tolist() for grid in np.indices(matrix_CC.shape))
    counts, shares = matrix_CC.reshape(-1).tolist(), shares_CC.reshape(-1).tolist()
    return {
        "true": rows,
        "predicted": columns,
        "row": [classes[row] for row in rows],
        "column": [classes[column] for column in columns],
        "count": counts,
        "text": [str(count) if count else "" for count in counts],
        "share": shares,
        "ink": ["#ffffff" if share > DARK_CELL else "#1b1f24" for share in shares],
    }


def _shares(matrix_CC: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(matrix_CC / np.maximum(matrix_CC.sum(1, keepdims=True), 1))

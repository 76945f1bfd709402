"""Charts of one line for each condition or class, with a mark for each value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, FactorRange, GlyphRenderer, Label, Span, Whisker
from bokeh.plotting import figure

from cache_schema.report.charts.base import (
    COLOURS,
    Chart,
    Static,
    add_hover,
    chart_text,
    colours,
    new_chart,
    rows_inches,
    short_text,
    static_legend,
)
from cache_schema.text import plot_text

ROW_HEIGHT, FRAME_HEIGHT = 24, 80  # pixels
RIM = 24  # pixels: room for half of the first and last number


@dataclass(frozen=True, slots=True)
class Spread:
    """A value of several seeds.

    Attributes
    ----------
    name : str
    each : sequence of float
        One value a seed.
    mean : float
    low, high : float or None
        Ends of the interval of the mean, where there is one.
    """

    name: str
    each: Sequence[float]
    mean: float
    low: float | None = None
    high: float | None = None


def spread_chart(rows: Sequence[Spread], x_label: str, mark: float, mark_name: str) -> Chart:
    """Draw each value's seeds, mean and interval, one row each, beside a mark for all.

    A row's name stands above it, for names are long and phones are narrow.
    """
    places = [-float(number) for number in range(len(rows))]
    chart = Chart(
        new_chart(
            x_label, "", height=FRAME_HEIGHT + 2 * ROW_HEIGHT * len(rows),
            x_range=_range(rows, mark), y_range=(0.8 - len(rows), 0.8), y_axis_type=None,
        ),
        Static(partial(_static_spread, rows, x_label, mark, mark_name), rows_inches(len(rows))),
    )  # fmt: skip
    chart.figure.ygrid.visible = False
    chart.figure.min_border_left = chart.figure.min_border_right = RIM
    for place, row in zip(places, rows, strict=True):
        label = Label(x=4, x_units="screen", y=place + 0.25, text=chart_text(row.name))
        label.text_font_size, label.text_color = "12px", COLOURS["undistilled"]
        chart.figure.add_layout(label)
    drawn = _draw_marks(chart, rows, places)
    _draw_intervals(chart.figure, rows, places)
    line = Span(location=mark, dimension="height", line_dash="dashed", line_width=2)
    line.line_color = COLOURS.get(mark_name, COLOURS["undistilled"])
    chart.figure.add_layout(line)
    chart.name(mark_name, line.line_color, [line], "dashed")
    add_hover(chart.figure, drawn, [("", "@name"), (x_label, "@x{0.0}")])
    return chart


def _range(rows: Sequence[Spread], mark: float) -> tuple[float, float]:
    """Stretch that holds everything, and a little more."""
    values = [mark, *(value for row in rows for value in (*row.each, row.low, row.high))]
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    rim = 0.06 * (high - low) or 1.0
    return low - rim, high + rim


def _static_spread(
    rows: Sequence[Spread], x_label: str, mark: float, mark_name: str, axis: Any
) -> None:
    student = COLOURS["student"]
    for place, row in enumerate(rows):
        entry = place == 0  # one entry of the legend for all
        axis.scatter(
            row.each, [place] * len(row.each), s=36, alpha=0.45, color=student,
            label="each seed" if entry else None,
        )  # fmt: skip
        axis.scatter(
            row.mean, place, s=70, marker="D", color=student, label="mean" if entry else None
        )
        if row.low is not None and row.high is not None:
            ends = [[row.mean - row.low], [row.high - row.mean]]
            axis.errorbar(row.mean, place, xerr=ends, color=student, capsize=5)
    ink = COLOURS.get(mark_name, COLOURS["undistilled"])
    axis.axvline(mark, color=ink, ls="dashed", label=mark_name)
    axis.set_yticks(range(len(rows)), [plot_text(row.name) for row in rows])
    axis.set(xlabel=plot_text(x_label), ylim=(len(rows) - 0.5, -0.5), xlim=_range(rows, mark))
    static_legend(axis)


def _draw_marks(
    chart: Chart, rows: Sequence[Spread], places: Sequence[float]
) -> list[GlyphRenderer]:
    student = COLOURS["student"]
    each = [(v, p, chart_text(r.name)) for r, p in zip(rows, places, strict=True) for v in r.each]
    means = [(r.mean, p, chart_text(r.name)) for r, p in zip(rows, places, strict=True)]
    looks = {"each seed": (each, "circle", 8, 0.45), "mean": (means, "diamond", 14, 1.0)}
    drawn = []
    for name, (points, marker, size, alpha) in looks.items():
        x, y, names = zip(*points, strict=True)
        source = ColumnDataSource({"x": x, "y": y, "name": names})
        style = {"marker": marker, "size": size, "alpha": alpha, "color": student}
        drawn.append(chart.figure.scatter("x", "y", source=source, **style))
        chart.name(name, student, drawn[-1:], marker)
    return drawn


def _draw_intervals(chart: figure, rows: Sequence[Spread], places: Sequence[float]) -> None:
    known = [(p, r.low, r.high) for p, r in zip(places, rows, strict=True) if r.low is not None]
    columns = [list(column) for column in zip(*known, strict=True)] or [[], [], []]
    source = ColumnDataSource(dict(zip(("base", "lower", "upper"), columns, strict=True)))
    whisker = Whisker(
        base="base", lower="lower", upper="upper", source=source, dimension="width", line_width=2
    )
    whisker.line_color = COLOURS["student"]
    for head in (whisker.upper_head, whisker.lower_head):
        head.size, head.line_color = 12, COLOURS["student"]
    chart.add_layout(whisker)


@dataclass(frozen=True, slots=True)
class ClassValues:
    """A class's value by each model; None where it has none."""

    name: str
    clips: int
    values: dict[str, float | None] = field(default_factory=dict)


def class_chart(
    rows: Sequence[ClassValues], x_label: str, x_range: tuple[float, float] = (-0.02, 1.02)
) -> Chart:
    """Draw a class a row with a mark for each model, or split, all joined by a line."""
    names = _distinct([f"{row.name} ({row.clips})" for row in rows])
    chart = Chart(
        new_chart(
            x_label, "", height=FRAME_HEIGHT + ROW_HEIGHT * len(rows),
            y_range=FactorRange(*reversed(names)), x_range=x_range,
        ),
        Static(partial(_static_classes, rows, names, x_label, x_range), rows_inches(len(rows))),
    )  # fmt: skip
    found = [[v for v in row.values.values() if v is not None] for row in rows]
    ends = [(n, min(v), max(v)) for n, v in zip(names, found, strict=True) if v]
    chart.figure.segment(
        [low for _, low, _ in ends], [n for n, _, _ in ends],
        [high for _, _, high in ends], [n for n, _, _ in ends],
        color=COLOURS["undistilled"], alpha=0.5,
    )  # fmt: skip
    models = list(dict.fromkeys(model for row in rows for model in row.values))
    ink = colours(models)
    for model in models:
        known = [(n, r.values.get(model)) for n, r in zip(names, rows, strict=True)]
        known = [(name, value) for name, value in known if value is not None]
        source = ColumnDataSource(
            {
                "x": [value for _, value in known],
                "y": [name for name, _ in known],
                "model": [chart_text(model)] * len(known),
            }
        )
        marks = chart.figure.scatter("x", "y", source=source, size=10, color=ink[model], alpha=0.85)
        add_hover(chart.figure, [marks], [("", "@y"), ("@model", "@x{0.[000]}")])
        chart.name(model, ink[model], [marks], "circle")
    return chart


def _static_classes(
    rows: Sequence[ClassValues],
    names: Sequence[str],
    x_label: str,
    x_range: tuple[float, float],
    axis: Any,
) -> None:
    models = list(dict.fromkeys(model for row in rows for model in row.values))
    for place, row in enumerate(rows):
        known = [value for value in row.values.values() if value is not None]
        if known:
            axis.plot([min(known), max(known)], [place, place], color="#b7bbc2", lw=1, zorder=0)
    for model, ink in colours(models).items():
        marks = [row.values.get(model) for row in rows]
        values = [np.nan if value is None else value for value in marks]
        axis.scatter(values, range(len(rows)), s=40, color=ink, alpha=0.85, label=plot_text(model))
    axis.set_yticks(range(len(rows)), [plot_text(name) for name in names])
    axis.set(xlabel=plot_text(x_label), ylim=(len(rows) - 0.5, -0.5), xlim=x_range)
    static_legend(axis)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names as an axis takes them, equal ones distinguished by their number."""
    shown: list[str] = []
    for name in map(short_text, names):
        shown.append(name if name not in shown else f"{name} #{len(shown) + 1}")
    return shown

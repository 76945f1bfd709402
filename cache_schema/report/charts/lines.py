"""Charts of lines: quantities over epochs, and how far confidence can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bokeh.models import BasicTickFormatter, ColumnDataSource, FixedTicker

from cache_schema.report.charts.base import (
    COLOURS,
    HEIGHT,
    Chart,
    Static,
    add_hover,
    chart_text,
    colours,
    new_chart,
    static_legend,
)
from cache_schema.text import plot_text

LOG_TICKS = [step * 10.0**power for power in range(-8, 6) for step in (1, 2, 5)]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Attributes
    ----------
    name : str
        What it is; lines of one name share a colour and an entry of the legend.
    x, y : sequence of float
    detail : str
        What distinguishes it from others of its name, as a seed.
    dash : str
        ``"solid"``, ``"dashed"`` or ``"dotted"``.
    model : str
        Whose it is; lines of one model share a colour. Default: the name.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    detail: str = ""
    dash: str = "solid"
    model: str = ""

    @property
    def owner(self) -> str:
        """Whose colour it has."""
        return self.model or self.name


def line_chart(
    lines: Sequence[Line], x_label: str, y_label: str, *, logarithmic: bool = False
) -> Chart:
    """Draw lines with their points."""
    scale = "log" if logarithmic else "linear"
    static = Static(partial(_static_lines, lines, x_label, y_label, scale))
    chart = Chart(new_chart(x_label, y_label, y_axis_type=scale), static)
    chart.figure.yaxis.formatter = BasicTickFormatter(use_scientific=False)
    if logarithmic:
        chart.figure.yaxis.ticker = FixedTicker(ticks=LOG_TICKS)
    ink, dots = colours(list(dict.fromkeys(line.owner for line in lines))), []
    for line in lines:
        name = chart_text(f"{line.name} {line.detail}".strip())
        source = ColumnDataSource(
            {"x": list(line.x), "y": list(line.y), "name": [name] * len(line.x)}
        )
        style = {"color": ink[line.owner], "source": source, "alpha": 0.85}
        drawn = chart.figure.line("x", "y", line_width=2, line_dash=line.dash, **style)
        dots.append(chart.figure.scatter("x", "y", size=5, **style))
        chart.name(line.name, ink[line.owner], [drawn, dots[-1]], line.dash)
    add_hover(chart.figure, dots, [("", "@name"), (x_label, "@x"), (y_label, "@y{0.0000}")])
    return chart


def _static_lines(lines: Sequence[Line], x_label: str, y_label: str, scale: str, axis: Any) -> None:
    ink, named = colours(list(dict.fromkeys(line.owner for line in lines))), set[str]()
    for line in lines:
        label = "_" if line.name in named else plot_text(line.name)  # an underscore: no entry
        named.add(line.name)
        axis.plot(
            line.x,
            line.y,
            color=ink[line.owner],
            ls=line.dash,
            marker="o",
            ms=3,
            lw=1.5,
            label=label,
        )
    axis.set(xlabel=x_label, ylabel=plot_text(y_label), yscale=scale)
    static_legend(axis)


@dataclass(frozen=True, slots=True)
class Reliability:
    """How often a model is right where it is sure.

    Attributes
    ----------
    name : str
    confidence, right : sequence of float
        Mean of each bin, and the share that is right in it.
    count : sequence of int
        Predictions in each bin.
    """

    name: str
    confidence: Sequence[float]
    right: Sequence[float]
    count: Sequence[int]


def reliability_chart(models: Sequence[Reliability]) -> Chart:
    """Draw the share that is right over the confidence; larger points stand for more predictions."""
    chart = Chart(
        new_chart(
            "confidence", "share that is right", height=HEIGHT + 60, x_range=(0, 1.02),
            y_range=(0, 1.02),
        ),
        Static(partial(_static_reliability, models), 4.0),
    )  # fmt: skip
    quiet = COLOURS["undistilled"]
    diagonal = chart.figure.line([0, 1], [0, 1], line_dash="dashed", color=quiet)
    ink, dots = colours([model.name for model in models]), []
    for model in models:
        most = max(model.count, default=1)
        source = ColumnDataSource(
            {
                "x": list(model.confidence),
                "y": list(model.right),
                "count": list(model.count),
                "size": [5 + 13 * (n / most) ** 0.5 for n in model.count],
                "name": [chart_text(model.name)] * len(model.count),
            }
        )
        style = {"color": ink[model.name], "source": source}
        drawn = chart.figure.line("x", "y", line_width=2, **style)
        dots.append(chart.figure.scatter("x", "y", size="size", alpha=0.6, **style))
        chart.name(model.name, ink[model.name], [drawn, dots[-1]])
    chart.name("as sure as right", quiet, [diagonal], "dashed")
    shown = [
        ("", "@name"),
        ("confidence", "@x{0.00}"),
        ("right", "@y{0.00}"),
        ("predictions", "@count"),
    ]
    add_hover(chart.figure, dots, shown)
    return chart


def _static_reliability(models: Sequence[Reliability], axis: Any) -> None:
    ink = colours([model.name for model in models])
    for model in models:
        sizes = [160 * n / max(model.count, default=1) + 12 for n in model.count]
        axis.plot(model.confidence, model.right, color=ink[model.name], label=plot_text(model.name))
        axis.scatter(model.confidence, model.right, s=sizes, color=ink[model.name], alpha=0.6)
    axis.plot([0, 1], [0, 1], color=COLOURS["undistilled"], ls="dashed", label="as sure as right")
    axis.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1.02), ylim=(0, 1.02))
    static_legend(axis)

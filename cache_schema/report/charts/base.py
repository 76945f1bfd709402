"""What all charts have in common: colours, axes, text from outside, what a page embeds.

Shape suffixes: none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from bokeh.embed import components
from bokeh.model import Model
from bokeh.models import HoverTool
from bokeh.plotting import figure
from bokeh.resources import Resources

from cache_schema.text import one_line

# Of middle lightness: three to one at least on a light ground and on a dark one.
COLOURS = {
    "student": "#2f86d1",
    "distilled": "#2f86d1",
    "undistilled": "#8b8f97",
    "teacher": "#d9562b",
}
OTHERS = ("#2f86d1", "#2a9d6f", "#a368d9", "#b8860b", "#d1478c", "#1797a6", "#7d8a2e", "#c0504d")
HEIGHT = 250  # pixels
AXIS_CHARACTERS = 24
_TEX = re.compile(r"\$\$|\\[(\[]")


@dataclass(frozen=True, slots=True)
class Named:
    """What an entry of a legend stands for.

    Attributes
    ----------
    name : str
        As it is shown.
    colour : str
    look : str
        Of a line ``"solid"``, ``"dashed"`` or ``"dotted"``, of a mark ``"circle"`` or ``"diamond"``.
    models : str
        Identities of what is drawn for it, separated by spaces: a click hides them.
    """

    name: str
    colour: str
    look: str
    models: str


@dataclass(frozen=True, slots=True)
class Static:
    """A chart as a picture for a paper.

    Attributes
    ----------
    draw : callable
        Draws it on the axes that it is given, which are matplotlib's.
    height_inches : float
    """

    draw: Callable[[Any], None]
    height_inches: float = 3.2


@dataclass(slots=True)
class Chart:
    """A figure with its legend, which the page shows as text below it, and the same as a picture."""

    figure: figure
    static: Static | None = None
    legend: list[Named] = field(default_factory=list)

    def name(self, name: str, colour: str, models: Sequence[Model], look: str = "solid") -> None:
        """Add an entry, or more of what an entry stands for."""
        own = next((entry for entry in self.legend if entry.name == name), None)
        known = [own.models] if own else []
        entry = Named(name, colour, look, " ".join([*known, *(model.id for model in models)]))
        if own is None:
            self.legend.append(entry)
        else:
            self.legend[self.legend.index(own)] = entry


@dataclass(frozen=True, slots=True)
class Embedded:
    """Charts as a page takes them.

    Attributes
    ----------
    script : str
        JavaScript that draws all of them.
    places : dict of str to str
        For each chart the HTML of the place that it is drawn in.
    """

    script: str
    places: dict[str, str]


def embed(charts: Mapping[str, Chart]) -> Embedded:
    """Write charts as one script and a place for each."""
    if not charts:
        return Embedded("", {})
    script, places = components({n: chart.figure for n, chart in charts.items()}, wrap_script=False)
    return Embedded(script, dict(places))


def library() -> str:
    """The script of bokeh's that draws them: its core alone."""
    found = Resources(mode="inline", components=["bokeh"]).js_raw
    return "\n".join(found)


def chart_text(text: object) -> str:
    r"""Escape for a chart: a line, and no formula, for which bokeh would fetch a typesetter.

    >>> chart_text("$$x$$")
    '$\u200a$x$\u200a$'
    """
    return _TEX.sub(lambda found: f"{found[0][0]}\u200a{found[0][1]}", one_line(text))


def short_text(text: object) -> str:
    """Escape for an axis, which has no room for more than a few words."""
    shown = chart_text(text)
    return shown if len(shown) <= AXIS_CHARACTERS else f"{shown[:AXIS_CHARACTERS]}…"


def colours(names: list[str]) -> dict[str, str]:
    """Colour of each name: its own where it has one, else the next of those that are left."""
    left = cycle(colour for colour in OTHERS if colour not in COLOURS.values())
    return {name: COLOURS.get(name) or next(left) for name in names}


def new_chart(x_label: str, y_label: str, *, height: int = HEIGHT, **options: Any) -> figure:
    """Begin a chart as wide as the page; a finger that moves over it scrolls the page."""
    chart = figure(
        height=height,
        sizing_mode="stretch_width",
        tools="box_zoom,reset,save",
        active_drag=None,
        toolbar_location="above",
        **options,
    )
    chart.toolbar.logo = None
    chart.toolbar.autohide = chart.toolbar_inner = True
    chart.xaxis.axis_label = x_label
    if y_label:
        chart.yaxis.axis_label = y_label
    return chart


def rows_inches(rows: int) -> float:
    """Height of a picture of so many rows, with its axis and legend."""
    return 1.1 + 0.24 * max(rows, 4)


def static_legend(axis: Any) -> None:
    """Put the legend of a picture beside it, where it covers nothing."""
    if len(axis.get_legend_handles_labels()[0]) > 1:
        axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))


def add_hover(chart: figure, renderers: list[Any], lines: list[tuple[str, str]]) -> None:
    """Show `lines` at what the pointer is on."""
    chart.add_tools(HoverTool(renderers=renderers, tooltips=lines, visible=False))

"""A clip: its log-mel in Hz, and below it where in time each model attends.

Shape suffixes: T frames, M mel bands.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from bokeh.models import BoxAnnotation, FixedTicker, LinearColorMapper, Range1d, Span
from bokeh.palettes import Magma256
from bokeh.plotting import figure
from numpy.typing import NDArray

from cache_schema.inspection.log_mel import LogMel
from cache_schema.report.charts.base import Chart, colours, new_chart

LEVELS = 255
PICTURE_HEIGHT, CURVES_HEIGHT = 130, 150  # pixels
PLAYED = "#2fb7d1"
AXIS_WIDTH = 74  # pixels, so that both charts begin at the same place

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def clip_charts(
    picture: LogMel,
    curves: Mapping[str, Curve],
    *,
    seconds: float,
    place_s: tuple[float, float] | None,
    name: str,
) -> list[Chart]:
    """Draw a clip's log-mel, and its curves where it has any.

    Parameters
    ----------
    picture : LogMel
        Of the clip.
    curves : mapping
        Model to (frame times in seconds, weights that sum to 1).
    seconds : float
        Length of the clip.
    place_s : (float, float) or None
        A stretch to mark.
    name : str
        Of the line that moves with the sound, for the page's script.
    """
    time = Range1d(0, seconds)
    found = [
        Chart(_picture_chart(picture, time)),
        *([_curve_chart(curves, time)] if curves else []),
    ]
    for number, chart in enumerate(found):
        own = chart.figure
        own.min_border_left, own.min_border_right = AXIS_WIDTH, 12
        own.toolbar_location = None
        if place_s is not None:
            _mark(own, place_s, is_picture=number == 0)
        line = Span(location=-1, dimension="height", name=f"{name}-{number}", line_width=2)
        line.line_color = PLAYED
        own.add_layout(line)
    return found


def _picture_chart(picture: LogMel, time: Range1d) -> figure:
    bands = picture.bands_TM.shape[1]
    chart = new_chart("", "log-mel [Hz]", height=PICTURE_HEIGHT, x_range=time, y_range=(0, bands))
    span = max(float(picture.bands_TM.max()) - picture.floor, 1e-9)
    levels_MT = ((picture.bands_TM.T - picture.floor) / span * LEVELS).clip(0, LEVELS)
    begin_s, end_s = picture.span_s
    chart.image(
        [levels_MT.astype(np.uint8)], x=begin_s, y=0, dw=end_s - begin_s, dh=bands,
        color_mapper=LinearColorMapper(palette=Magma256, low=0, high=LEVELS),
    )  # fmt: skip
    ticks = picture.ticks()
    chart.yaxis.ticker = FixedTicker(ticks=list(ticks))
    chart.yaxis.major_label_overrides = ticks
    chart.xaxis.visible = chart.grid.visible = False
    return chart


def _curve_chart(curves: Mapping[str, Curve], time: Range1d) -> Chart:
    chart = Chart(new_chart("time [s]", "attention [1/s]", height=CURVES_HEIGHT, x_range=time))
    chart.figure.y_range.start = 0
    chart.figure.yaxis.ticker.desired_num_ticks = 3
    ink = colours(list(curves))
    for name, (times_T, weights_T) in curves.items():
        # As a density, so that curves of different frame rates compare.
        hop_s = float(times_T[1] - times_T[0]) if len(times_T) > 1 else 1.0
        drawn = chart.figure.line(times_T, weights_T / hop_s, color=ink[name], line_width=2)
        chart.name(name, ink[name], [drawn])
    return chart


def _mark(chart: figure, place_s: tuple[float, float], *, is_picture: bool) -> None:
    """Shade a stretch of curves; on the picture draw its two edges."""
    if not is_picture:
        shade = BoxAnnotation(left=place_s[0], right=place_s[1], fill_alpha=0.12, line_alpha=0)
        shade.fill_color = "#e0a030"
        chart.add_layout(shade)
        return
    for edge_s in place_s:
        edge = Span(location=edge_s, dimension="height", line_dash="dashed", line_color="white")
        chart.add_layout(edge)

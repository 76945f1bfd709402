"""The charts and clips of a report as pictures for a paper, one PNG each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cache_schema.inspection.plot import ClipPanel, plot_attentions, plot_chart, require_matplotlib
from cache_schema.own_folder import check_own_folder
from cache_schema.report.charts.base import Chart

SUFFIX = ".png"


@dataclass(frozen=True, slots=True)
class ClipPicture:
    """A clip to draw, and the rate of its waveform."""

    panel: ClipPanel
    sample_rate_hz: int


def check_pictures(folder: Path, command: str) -> None:
    """Reject pictures that could not be drawn, before anything else is done.

    Raises
    ------
    UsageError
        If matplotlib is missing, or the folder holds other things than pictures.
    """
    require_matplotlib()
    check_own_folder(folder, "folder of pictures", command, (SUFFIX,), option="--png")


def write_pictures(
    folder: Path, charts: Mapping[str, Chart], clips: Mapping[str, ClipPicture]
) -> int:
    """Draw charts and clips by their names; gives the number of pictures.

    A picture of an earlier report of the same name is replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {name: chart.static for name, chart in charts.items() if chart.static is not None}
    for name, static in drawn.items():
        plot_chart(static.draw, static.height_inches, folder / f"{name}{SUFFIX}")
    for name, clip in clips.items():
        plot_attentions([clip.panel], clip.sample_rate_hz, folder / f"{name}{SUFFIX}")
    return len(drawn) + len(clips)

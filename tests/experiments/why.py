"""Draw what distillation brings against how many clips only the teacher labels.

    python tests/experiments/why.py

Every point is a cell of the tables: the student that learned from temporal attention and logits,
over the same student alone. Written to ``gains.png`` beside this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladders import ALL_LABELS, EXPERIMENTS

from cache_schema.inspection.plot import plot_chart
from student.compare.statistics import Paired
from student.compare.table import TableRow, table_rows

PICTURE = Path(__file__).resolve().parent / "gains.png"
BOTH = "temporal=0.25:sharpen=3 logits=0.5:temperature=2"
# Labelled training clips and all of them, as finetune-teacher counts them.
WORDS, DIGITS = (345, 3340), (500, 2000)
KEYWORDS = {"labels-5": (176, 3340), "labels-25": (835, 3340), ALL_LABELS: (3340, 3340)}


@dataclass(frozen=True, slots=True)
class Point:
    """A gain in points, where each labelled clip has so many that only the teacher labels."""

    series: str
    unlabelled_per_label: float
    gain: Paired


def points() -> Iterator[Point]:
    """Give the cells that are in the ledgers."""
    for row in _rows("unlabelled"):
        start, _, count = str(row.condition).rpartition(" unlabelled=")
        if start == BOTH and row.gain:
            yield Point("words, 1 s", int(count) / WORDS[0], row.gain)
    for row in _rows("labels"):
        labelled, clips = KEYWORDS[row.cache]
        if str(row.condition) == BOTH and row.gain:
            share = (clips - labelled) / labelled
            yield Point(f"keywords in noise, {row.student}", share, row.gain)
    for row in _rows("digits"):
        if str(row.condition) == BOTH and row.gain:
            yield Point("spoken digits", (DIGITS[1] - DIGITS[0]) / DIGITS[0], row.gain)


def _rows(name: str) -> list[TableRow]:
    experiment = EXPERIMENTS[name]
    folds = bool(experiment.config.get("folds"))
    found = experiment.results_found()
    return table_rows(experiment.comparison(), found, ["accuracy"], folds=folds)


def draw(axes: Any) -> None:
    """Draw a series of points for each corpus and student, with intervals where there are some."""
    found = list(points())
    for mark, series in zip("osD^v", dict.fromkeys(point.series for point in found), strict=False):
        of = [point for point in found if point.series == series]
        axes.errorbar(
            [point.unlabelled_per_label for point in of],
            [100 * point.gain.mean for point in of],
            yerr=[100 * (point.gain.half_width or 0.0) for point in of],
            fmt=mark, capsize=3, label=series,
        )  # fmt: skip
    axes.axhline(0, color="0.7", linewidth=1)
    axes.set_xlabel("clips that only the teacher labels, for each labelled clip")
    axes.set_ylabel("points over the student alone")
    axes.legend(loc="lower right")


if __name__ == "__main__":
    plot_chart(draw, 4.0, PICTURE)

"""How predictions are written: a table for people, CSV or JSON lines for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from cache_schema.text import csv_text, json_text, one_line
from student.predict.stretches import LIKELY, StretchPrediction

COLUMNS = ("recording", "start_s", "end_s", "class", "score")
FRAME_COLUMNS = ("first_frame_s", "hop_s", "attention")
_BARS = " ▁▂▃▄▅▆▇█"
_MAX_BARS = 40
_DIGITS = 6


def shown_classes(row: StretchPrediction, task: str, top: int | None) -> list[tuple[str, float]]:
    """Classes that are shown of a stretch: the first `top`; else the likeliest, or every class."""
    return row.ranked(top or (1 if task == "single" else None))


def csv_header(frames: bool) -> str:
    """The first line of CSV."""
    return _csv_line([*COLUMNS, *(FRAME_COLUMNS if frames else ())])


def csv_rows(row: StretchPrediction, task: str, top: int | None, frames: bool) -> str:
    """Write a stretch as lines of CSV, one for each class that is shown."""
    where = list(_where(row).values()) if frames else []
    if where:
        where[-1] = " ".join(map(str, where[-1]))
    place = [csv_text(row.recording), _rounded(row.start_s), _rounded(row.end_s)]
    return "\n".join(
        _csv_line([*place, csv_text(name), float(score), *where])
        for name, score in shown_classes(row, task, top)
    )


def json_line(row: StretchPrediction, task: str, top: int | None, frames: bool) -> str:
    """Write a stretch as one JSON object."""
    document: dict[str, Any] = {
        "recording": row.recording,
        "start_s": _rounded(row.start_s),
        "end_s": _rounded(row.end_s),
        "classes": [
            {"class": name, "score": float(score)} for name, score in shown_classes(row, task, top)
        ],
    }
    return json_text(document | (_where(row) if frames else {}))


def table(rows: Sequence[StretchPrediction], task: str, top: int | None, frames: bool) -> Table:
    """Lay out stretches; of a multi-label task those classes that are likelier than not."""
    grid = Table()
    grid.add_column("recording", overflow="fold")
    for name in ("from s", "to s"):
        grid.add_column(name, justify="right")
    grid.add_column("class", overflow="fold")
    grid.add_column("score", justify="right")
    if frames:
        grid.add_column("highest at s", justify="right")
        grid.add_column("attention", no_wrap=True)
    for row in rows:
        cells = [one_line(row.recording), f"{row.start_s:.2f}", f"{row.end_s:.2f}"]
        where = (
            [f"{row.start_s + _peak_s(row):.2f}", bars(row.prediction.attention_T)]
            if frames
            else []
        )
        for name, score in _shown(row, task, top):
            grid.add_row(*cells, one_line(name), f"{score:.4f}", *where)
            cells, where = ["", "", ""], []
    return grid


def bars(attention_T: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    """Draw an attention in a line, of at most 40 characters; the highest is full.

    >>> bars(np.array([0.0, 0.25, 0.5, 0.25]))
    ' ▄█▄'
    """
    pieces = np.array_split(attention_T, min(len(attention_T), _MAX_BARS))
    heights = np.array([piece.max() for piece in pieces])
    steps = np.rint(heights / max(heights.max(), 1e-30) * (len(_BARS) - 1))
    return "".join(_BARS[int(step)] for step in steps.clip(0, len(_BARS) - 1))


def _shown(row: StretchPrediction, task: str, top: int | None) -> list[tuple[str, float]]:
    if task == "single" or top is not None:
        return shown_classes(row, task, top)
    likely = [(name, score) for name, score in row.ranked() if score >= LIKELY]
    if likely:
        return likely
    (name, score), *_ = row.ranked(1)
    return [(f"none above {LIKELY:g}; first {name}", score)]


def _peak_s(row: StretchPrediction) -> float:
    prediction = row.prediction
    return float(prediction.times_T[int(prediction.attention_T.argmax())])


def _where(row: StretchPrediction) -> dict[str, Any]:
    """Where a student attends, its times from the recording's beginning."""
    times_T = row.prediction.times_T
    hop_s = float(times_T[1] - times_T[0]) if len(times_T) > 1 else 0.0
    attention = [_rounded(value) for value in row.prediction.attention_T]
    values = (_rounded(row.start_s + times_T[0]), _rounded(hop_s), attention)
    return dict(zip(FRAME_COLUMNS, values, strict=True))


def _rounded(value: float) -> float:
    return round(float(value), _DIGITS)


def _csv_line(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


# Suffixes of files, with how they begin.
OUTPUTS = {".csv": rb"^recording,start_s,end_s,class,score", ".jsonl": rb'^\{"recording": "'}
WRITERS: dict[str, Callable[[StretchPrediction, str, int | None, bool], str]] = {
    "csv": csv_rows,
    "jsonl": json_line,
}

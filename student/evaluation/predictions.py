"""What a student and its teacher predict for each clip of a split, as CSV or Parquet.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache_schema.reader import Cache
from cache_schema.store.files import write_atomic
from cache_schema.text import csv_text
from student.metrics.teacher import teacher_predictions
from student.runs.predict import read_config, run_predictions
from student.runs.settings import first_teacher

PARQUET = ".parquet"

Columns = dict[str, list[str] | NDArray[np.float64]]


def write_predictions(run: Path, cache: Cache, split: str, file: Path) -> int:
    """Write a row for each labelled clip of a split, as Parquet by its suffix, else as CSV.

    Columns are the clip, its classes, and for student and teacher the predicted classes and a score
    for each class: probabilities, by softmax or sigmoid. A teacher without logits for all classes of
    the cache is left out.

    Returns
    -------
    int
        How many clips.

    Raises
    ------
    UsageError
        Kind ``"extra"`` if what writes Parquet is not installed; else as
        `student.runs.predict.run_predictions`.
    RunError
        As `student.runs.predict.run_predictions`.
    """
    encoded = encoder(file)
    columns = _columns(run, cache, split)
    write_atomic(file, encoded(columns))
    return len(columns["clip"])


def encoder(file: Path) -> Callable[[Columns], bytes]:
    """Choose by a file's suffix what encodes its columns; refuses what is not installed."""
    if file.suffix.lower() != PARQUET:
        return _csv
    from student.evaluation.parquet import parquet_bytes

    return parquet_bytes


def _columns(run: Path, cache: Cache, split: str) -> Columns:
    config, classes = read_config(run), cache.classes
    found = {"student": run_predictions(run, config, cache, split)}
    teacher = teacher_predictions(
        cache, split, config["class_map"], first_teacher(config["distill"])
    )
    if teacher is not None and teacher.classes == found["student"].classes:
        found["teacher"] = teacher
    every, clips_N = cache.clip_ids(), found["student"].clips_N
    columns: Columns = {
        "clip": [] if clips_N is None else [every[place] for place in clips_N.tolist()],
        "label": _names(classes, found["student"].labels_NC),
    }
    for who, one in found.items():
        scores_NC = np.exp(one.log_probabilities())  # all digits: rounded, the surest would be tied
        columns[who] = _names(classes, one.decisions())
        columns |= {f"{who} {name}": scores_NC[:, c] for c, name in enumerate(classes)}
    return columns


def _names(classes: tuple[str, ...], which_NC: NDArray[np.bool_]) -> list[str]:
    return [";".join(classes[c] for c in np.flatnonzero(which_C)) for which_C in which_NC]


def _csv(columns: Columns) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(csv_text, columns))
    cells = [
        list(map(csv_text, values)) if isinstance(values, list) else values.tolist()
        for values in columns.values()
    ]
    writer.writerows(zip(*cells, strict=True))
    return text.getvalue().encode()

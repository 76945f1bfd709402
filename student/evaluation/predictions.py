"""What a student and its teacher predict for each clip of a split, as lines of CSV.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.reader import Cache
from cache_schema.store.files import write_atomic
from cache_schema.text import csv_text
from student.metrics.teacher import teacher_predictions
from student.runs.predict import read_config, run_predictions
from student.runs.settings import first_teacher

NAMES = ("student", "teacher")


def write_predictions(run: Path, cache: Cache, split: str, file: Path) -> int:
    """Write a line for each labelled clip of a split; gives their number.

    Columns are the clip, its classes, and for student and teacher the predicted classes and a score
    for each class: probabilities, by softmax or sigmoid. A teacher without logits for all classes of
    the cache is left out.

    Raises
    ------
    RunError, UsageError
        As `student.runs.predict.run_predictions`.
    """
    config = read_config(run)
    found = {"student": run_predictions(run, config, cache, split)}
    teacher = teacher_predictions(
        cache, split, config["class_map"], first_teacher(config["distill"])
    )
    if teacher is not None and teacher.classes == found["student"].classes:
        found["teacher"] = teacher
    every, clips_N = cache.clip_ids(), found["student"].clips_N
    ids = [] if clips_N is None else [every[place] for place in clips_N.tolist()]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = cache.classes
    columns = [[who, *(f"{who} {name}" for name in classes)] for who in found]
    writer.writerow(["clip", "label", *(csv_text(name) for group in columns for name in group)])
    predicted = {
        who: (one.decisions(), np.exp(one.log_probabilities())) for who, one in found.items()
    }
    for place, (clip, label_C) in enumerate(zip(ids, found["student"].labels_NC, strict=True)):
        row: list[Any] = [csv_text(clip), _names(classes, label_C)]
        for decisions_NC, scores_NC in predicted.values():
            row += [_names(classes, decisions_NC[place]), *scores_NC[place].round(6).tolist()]
        writer.writerow(row)
    write_atomic(file, text.getvalue().encode())
    return len(ids)


def _names(classes: tuple[str, ...], which_C: NDArray[np.bool_]) -> str:
    return csv_text(";".join(classes[c] for c in np.flatnonzero(which_C)))

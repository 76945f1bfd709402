"""Scores: accuracy for single-label, macro mean average precision for multi-label tasks.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cache_schema.errors import UsageError
from cache_schema.reader import Cache
from student.losses.logits import SIGNAL as LOGITS
from student.losses.logits import teacher_columns
from student.unit_rows import teacher_classes

METRICS = {"single": "accuracy", "multi": "mAP"}


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value with what it was computed over.

    Attributes
    ----------
    metric : str
        ``"accuracy"`` or ``"mAP"``.
    value : float
        Between 0 and 1; NaN when no labelled clip was scored.
    clips : int
        Labelled clips scored.
    left_out : tuple of str
        Classes without a positive clip; a macro mean cannot count them.
    """

    metric: str
    value: float
    clips: int
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.metric} {self.value:.4f} on {self.clips} clips"
        if self.left_out:
            text += f" (left out, no positives: {', '.join(self.left_out)})"
        return text


def score(logits_NC: Tensor, labels_NC: Tensor, *, task: str, classes: tuple[str, ...]) -> Score:
    """Score logits of labelled clips.

    Parameters
    ----------
    logits_NC : Tensor, float, shape (N, C)
        Before softmax or sigmoid.
    labels_NC : Tensor, shape (N, C)
        Multi-hot; one class each in a single-label task.
    task : {"single", "multi"}
        Picks the metric.
    classes : tuple of str
        Names of the C classes.
    """
    metric, clips = METRICS[task], len(labels_NC)
    if clips == 0:
        return Score(metric, float("nan"), 0)
    if task == "single":
        right_N = logits_NC.argmax(1) == labels_NC.argmax(1)
        return Score(metric, int(right_N.sum()) / clips, clips)
    # Imported here: torchmetrics imports every library it knows, several seconds' worth.
    from torchmetrics.functional.classification import binary_average_precision

    positive_C = labels_NC.any(0).tolist()
    precisions = [
        float(binary_average_precision(logits_NC[:, c].sigmoid(), labels_NC[:, c].long()))
        for c in range(len(classes))
        if positive_C[c]
    ]
    left_out = tuple(name for name, has in zip(classes, positive_C, strict=True) if not has)
    return Score(metric, float(np.mean(precisions)), clips, left_out)


def teacher_score(cache: Cache, split: str) -> Score | None:
    """Score the cached logits of view 0; None where there are none for the cache's classes."""
    if LOGITS not in cache.signals or split not in cache.splits:
        return None
    try:
        columns = teacher_columns(cache.classes, teacher_classes(cache))
    except UsageError:
        return None
    read: list[tuple[Any, Any]] = []
    for unit in cache.units(split, 0):
        rows = cache.read_unit(unit, (LOGITS,))
        read.append((rows.signals[LOGITS][:, columns][rows.labelled], rows.labels[rows.labelled]))
    logits_NC = torch.from_numpy(np.concatenate([logits for logits, _ in read]).astype(np.float32))
    labels_NC = torch.from_numpy(np.concatenate([labels for _, labels in read]))
    return score(logits_NC, labels_NC, task=cache.task, classes=cache.classes)

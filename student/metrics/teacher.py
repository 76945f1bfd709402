"""The cached teacher's own answers.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

import numpy as np

from cache_schema.errors import UsageError
from cache_schema.reader import Cache
from student.class_map import Names, build_class_map
from student.losses.logits import SIGNAL as LOGITS
from student.metrics.interface import Answers
from student.taught_by import teacher_classes


def teacher_answers(cache: Cache, split: str, class_map: Names | None = None) -> Answers | None:
    """Read the cached logits of view 0 for the labelled clips of a split.

    A teacher that covers some classes only answers for those: the others are named, and in a
    single-label task their clips are left out.

    Parameters
    ----------
    cache : Cache
        An open cache.
    split : str
        One of its splits.
    class_map : mapping or None
        As `build_class_map` takes it; without one the teacher must cover every class.

    Returns
    -------
    Answers or None
        None where the split has no logits for the cache's classes.
    """
    if LOGITS not in cache.signals or split not in cache.splits:
        return None
    try:
        found = build_class_map(cache.classes, teacher_classes(cache), class_map, cache.task)
    except UsageError:
        return None
    covered = list(found.covered)
    logits_NC, labels_NC = [np.zeros((0, len(covered)))], [np.zeros((0, len(covered)), np.bool_)]
    for unit in cache.units(split, 0):
        rows = cache.read_unit(unit, (LOGITS,))
        labels = rows.labels[:, covered].astype(np.bool_)
        kept = rows.labelled & (labels.any(1) if cache.task == "single" else True)
        logits_NC.append(found.apply(rows.signals[LOGITS])[kept].astype(np.float64))
        labels_NC.append(labels[kept])
    return Answers(
        logits_NC=np.concatenate(logits_NC),
        labels_NC=np.concatenate(labels_NC),
        task=cache.task,
        classes=tuple(cache.classes[c] for c in covered),
        uncovered=tuple(name for c, name in enumerate(cache.classes) if c not in covered),
    )

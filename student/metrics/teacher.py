"""The cached teacher's own predictions.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

import numpy as np

from cache_schema.reader import Cache
from cache_schema.signal_names import LOGITS, qualified
from student.metrics.interface import Predictions, true_classes
from student.stream.class_map import Names, build_class_map
from student.stream.teacher_selection import teacher_classes


def teacher_predictions(
    cache: Cache, split: str, class_map: Names | None = None, teacher: str = ""
) -> Predictions | None:
    """Read the cached logits of view 0 for the labelled clips of a split.

    A teacher that covers some classes has predictions for those only: the others are named, and in a
    single-label task their clips are left out.

    Parameters
    ----------
    cache : Cache
        An open cache.
    split : str
        One of its splits.
    class_map : mapping or None
        As `build_class_map` takes it; without one the teacher must cover every class.
    teacher : str
        Its name in the cache; the first teacher's is empty.

    Returns
    -------
    Predictions or None
        None where the split has no logits for the cache's classes.
    """
    signal, classes = qualified(LOGITS, teacher), teacher_classes(cache, teacher)
    if signal not in cache.signals or split not in cache.splits:
        return None
    if class_map is None and not set(cache.classes) <= set(classes):
        return None
    found = build_class_map(cache.classes, classes, class_map, cache.task)
    covered = list(found.covered)
    logits_NC, labels_NC = [np.zeros((0, len(covered)))], [np.zeros((0, len(covered)), np.bool_)]
    clips_N = [np.zeros(0, np.int64)]
    for unit in cache.units(split, 0):
        rows = cache.read_unit(unit, (signal, *cache.target_signals))
        labels = true_classes(rows.targets, cache.task)[:, covered]
        kept = rows.labelled & (labels.any(1) if cache.task == "single" else True)
        logits_NC.append(found.apply(rows.signals[signal])[kept].astype(np.float64))
        labels_NC.append(labels[kept])
        clips_N.append(rows.clip[kept])
    return Predictions(
        logits_NC=np.concatenate(logits_NC),
        labels_NC=np.concatenate(labels_NC),
        task=cache.task,
        classes=tuple(cache.classes[c] for c in covered),
        uncovered=tuple(name for c, name in enumerate(cache.classes) if c not in covered),
        clips_N=np.concatenate(clips_N),
    )

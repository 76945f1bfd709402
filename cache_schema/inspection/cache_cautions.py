"""What a cache itself gives reason to doubt, by the figures that `cache_schema.cautions` judges."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import accumulate

import numpy as np

from cache_schema.cautions import (
    few_clips,
    flat_attention,
    flatness,
    imbalance,
    known_groups,
    missing_classes,
    no_positives,
    one_class,
    perfect_teacher,
    shared_groups,
)
from cache_schema.inspection.summary import teacher_accuracy
from cache_schema.reader import Cache, Unit, UnitRows, progress
from cache_schema.signal_names import (
    LOGITS,
    TEMPORAL_ATTENTION,
    qualified,
    teacher_label,
    teacher_of,
)

MAX_CLIPS = 50_000  # of a split: what is looked at of very large ones, whose clips lie at random
TEST = "test"
UNITS = 16  # of train, to judge a teacher by


def corpus_cautions(cache: Cache) -> list[str]:
    """What a cache's clips, classes and parts lack; nothing of its signals is read."""
    classes = cache.classes
    counts, begun = class_counts(cache), unfinished_parts(cache)
    if not any(n for own in counts.values() for n in own.values()):
        return [*begun, *one_class(classes, cache.task)]
    found = {split: [c for c, n in own.items() if n] for split, own in counts.items()}
    groups = _groups(cache)
    return [
        *begun,
        *one_class(classes, cache.task),
        *missing_classes(found, classes),
        *no_positives(found),
        *imbalance(counts.get("train", {}), cache.task),
        *few_clips(_labelled(cache, TEST), TEST),
        *(known_groups(groups) if groups else shared_groups(_paths_and_labels(cache), classes)),
    ]


def unfinished_parts(cache: Cache) -> list[str]:
    """Parts that are not read, as they are being written or were left."""
    return [
        f"{progress(cache.root, entry)}: what it adds is not read. Repeat its precompute-teacher "
        "command to finish it"
        for entry in cache.unfinished
    ]


def class_counts(cache: Cache) -> dict[str, dict[str, int]]:
    """Usable clips of each class in each split, by their labels."""
    counts = {}
    for split in cache.splits:
        labels_NC = np.concatenate([rows.labels for rows in _usable(cache, split)])
        sums_C = labels_NC.sum(0, dtype=np.int64)
        counts[split] = dict(zip(cache.classes, sums_C.tolist(), strict=True))
    return counts


def first_units(cache: Cache, split: str) -> list[Unit]:
    """The first units of a split, up to so many clips."""
    units = cache.units(split, 0) if split in cache.splits else []
    before = accumulate((unit.rows for unit in units), initial=0)
    return [unit for unit, clips in zip(units, before, strict=False) if clips < MAX_CLIPS]


def _usable(cache: Cache, split: str) -> Iterator[UnitRows]:
    """Rows that are not quarantined, without signals, of as many as are looked at."""
    return (cache.read_unit(unit, ()) for unit in first_units(cache, split))


def _labelled(cache: Cache, split: str) -> int:
    """Usable clips of a split with labels, of as many as are looked at."""
    return sum(int(rows.labelled.sum()) for rows in _usable(cache, split))


def _unlabelled(cache: Cache) -> int:
    """Usable training clips without labels, of as many as are looked at."""
    return sum(int((~rows.labelled).sum()) for rows in _usable(cache, "train"))


def _groups(cache: Cache) -> dict[str, list[str]]:
    """The group of each clip by split; empty where the corpus names none."""
    found = {split: cache.clip_table.groups(*span) for split, span in _looked_at(cache).items()}
    return found if any(any(own) for own in found.values()) else {}


def _looked_at(cache: Cache) -> dict[str, tuple[int, int]]:
    """First clip of each split and the end of what is looked at."""
    return {
        split.name: (split.first_clip, split.first_clip + min(split.clips, MAX_CLIPS))
        for split in cache.manifest.corpus.splits
    }


def _paths_and_labels(cache: Cache) -> dict[str, list[tuple[str, list[str]]]]:
    found = {}
    for split, span in _looked_at(cache).items():
        paths = cache.clip_table.strings("path", *span)
        labels: list[list[str]] = [[] for _ in paths]
        hot_NC = cache.clip_table.labels(*span)
        for row, column in np.argwhere(hot_NC).tolist():
            labels[row].append(cache.classes[column])
        found[split] = list(zip(paths, labels, strict=True))
    return found


def teacher_cautions(
    cache: Cache,
    teacher: str,
    scores: Mapping[str, float] | None = None,
    signals: Collection[str] | None = None,
) -> list[str]:
    """What a teacher's own figures say of how much there is to learn from it.

    Parameters
    ----------
    cache : Cache
        Of its predictions.
    teacher : str
        Its name in the cache.
    scores : mapping, optional
        Its accuracy by split, where it is known already.
    signals : collection of str, optional
        Those that students will learn from as they are, where that is known.
    """
    if scores is None:
        splits = [split for split in ("train",) if split in cache.splits]
        scores = teacher_accuracy(cache, teacher, splits, UNITS)
    signal = qualified(TEMPORAL_ATTENTION, teacher)
    used = signals is None or signal in signals
    return [
        *perfect_teacher(
            scores.get("train"), "accuracy", teacher_label(teacher), unlabelled=_unlabelled(cache)
        ),
        *(flat_cautions(cache, signal) if used else []),
    ]


def flat_cautions(cache: Cache, signal: str) -> list[str]:
    """Whether a teacher's attention is nearly flat, and what else there is to learn from."""
    logits = qualified(LOGITS, teacher_of(signal)) in cache.signals
    return flat_attention(mean_flatness(cache, signal), signal, logits=logits)


def mean_flatness(cache: Cache, signal: str) -> float | None:
    """Mean flatness of a signal over the first units of train; None where it is not cached."""
    if signal not in cache.signals:
        return None
    split = "train" if "train" in cache.splits else cache.splits[0]
    found: list[float] = []
    for unit in cache.units(split, 0)[:UNITS]:
        rows = cache.read_unit(unit, [signal]).signals[signal]
        shares = (flatness(rows[row]) for row in range(len(rows)))
        found += [share for share in shares if share is not None]
    return float(np.mean(found)) if found else None

"""Several teachers in one cache: which of them a loss learns from.

As in the cache, the name of the first teacher is empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from cache_schema.errors import UsageError
from cache_schema.inspection.cache_cautions import unfinished_parts
from cache_schema.plugins import unknown_name
from cache_schema.reader import Cache
from cache_schema.signal_names import FIRST, qualified
from student.stream.batch import Batch


def teacher_facts(cache: Cache, teacher: str) -> dict[str, Any]:
    """Give a cached teacher's provenance.

    Raises
    ------
    UsageError
        If the cache has no such teacher.
    """
    known = cache.teachers
    if teacher and teacher not in known:
        names = [name or FIRST for name in known]
        error = unknown_name(teacher, names, f"teacher of {cache.root}")
        begun = "".join(f"\n{line}" for line in unfinished_parts(cache))
        raise UsageError(f"{error}{begun}", kind=error.kind)
    return dict(known.get(teacher) or {})


def teacher_classes(cache: Cache, teacher: str = "") -> tuple[str, ...]:
    """Classes of a teacher's cached logits; the cache's own where its provenance lists none."""
    return tuple(teacher_facts(cache, teacher).get("classes") or cache.classes)


def shared_classes(covered: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Find what several teachers cover together, as positions among the classes each covers.

    >>> shared_classes({"": (0, 1, 3), "b": (1, 2, 3)})
    {'': [1, 2], 'b': [0, 2]}
    """
    shared = set.intersection(*(set(classes) for classes in covered.values()))
    return {
        teacher: [position for position, c in enumerate(classes) if c in shared]
        for teacher, classes in covered.items()
    }


def select_teacher_signals(
    batch: Batch, signals: Sequence[str], teachers: Mapping[str, list[int]]
) -> Batch:
    """Give the batch with the chosen teachers' signals under their plain names.

    Several teachers are represented by the mean of their logits, an ensemble, over the classes they
    share.

    Parameters
    ----------
    batch : Batch
        With every teacher's signals under qualified names.
    signals : sequence of str
        Plain names of the signals wanted.
    teachers : mapping of str to list of int
        Teachers, with the positions of their logits that are averaged; not looked at for one alone.
    """
    names = {signal: [qualified(signal, teacher) for teacher in teachers] for signal in signals}
    chosen = {
        signal: batch.signals[several[0]]
        if len(several) == 1
        else torch.stack(
            [batch.signals[n][:, at] for n, at in zip(several, teachers.values(), strict=True)]
        ).mean(0)
        for signal, several in names.items()
    }
    lengths = {signal: batch.signal_lengths[several[0]] for signal, several in names.items()}
    return replace(batch, signals=chosen, signal_lengths=lengths)

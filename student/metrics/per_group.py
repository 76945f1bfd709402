"""How each speaker, session or place fares, where the corpus names them.

Shape suffixes: N clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan

import numpy as np

from cache_schema.reader import Cache
from student.metrics import load_metric
from student.metrics.interface import Predictions


@dataclass(frozen=True, slots=True)
class GroupScore:
    """Score of one group's clips.

    Attributes
    ----------
    name : str
        Of the speaker, session or place.
    clips : int
        Labelled ones that were scored.
    score : float or None
        By the metric; None where these clips give none.
    """

    name: str
    clips: int
    score: float | None


def groups_of(cache: Cache, predictions: Predictions) -> list[str]:
    """The group of each clip, ``""`` where none is known; an empty list where none of any is."""
    places_N = predictions.clips_N
    if places_N is None or not len(places_N):
        return []
    first = int(places_N.min())
    found = cache.clip_table.groups(first, int(places_N.max()) + 1)
    groups = [found[place - first] for place in places_N.tolist()]
    return groups if any(groups) else []


def per_group(predictions: Predictions, groups: Sequence[str], metric: str) -> list[GroupScore]:
    """Score each group's clips by themselves, the weakest first.

    Parameters
    ----------
    predictions : Predictions
        Of N clips.
    groups : sequence of str
        What each belongs to; clips of an empty one are left out.
    metric : str
        Key of ``METRICS``.
    """
    score, names_N = load_metric(metric), np.array(groups)
    scored = []
    for name in sorted({*groups} - {""}):
        (rows,) = np.nonzero(names_N == name)
        own = replace(
            predictions,
            logits_NC=predictions.logits_NC[rows],
            labels_NC=predictions.labels_NC[rows],
            clips_N=None,
        )
        value = score(own).value
        scored.append(GroupScore(name, len(rows), None if isnan(value) else value))
    return sorted(scored, key=lambda group: (group.score is None, group.score or 0.0))

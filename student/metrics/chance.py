"""What a metric gives to answers that know nothing of the clips.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cache_schema.reader import Cache
from student.metrics.interface import true_classes


def _commonest(labels_NC: NDArray[np.bool_]) -> float:
    return float(labels_NC.mean(0).max())


def _mean_share(labels_NC: NDArray[np.bool_]) -> float:
    return float(labels_NC[:, labels_NC.any(0)].mean())


def _share(labels_NC: NDArray[np.bool_]) -> float:
    return float(labels_NC.mean())


CHANCE: dict[str, tuple[Callable[[NDArray[np.bool_]], float], str]] = {
    "accuracy": (_commonest, "always the commonest class"),
    "mAP": (_mean_share, "clips ranked at random"),
    "micro-ap": (_share, "clips ranked at random"),
    "roc-auc": (lambda _: 0.5, "clips ranked at random"),
}
"""Metric to its chance level, and what has it. The average precision of a random ranking is about the
share of clips that have the class: a little more of few clips."""


def chance_level(labels_NC: NDArray[np.bool_], metric: str) -> float | None:
    """Score without knowledge of the clips; None where nobody knows it, or no clip has a class."""
    if metric not in CHANCE or not labels_NC.any():
        return None
    return CHANCE[metric][0](labels_NC)


def cache_chance(cache: Cache, split: str, metrics: Sequence[str]) -> dict[str, float | None]:
    """Chance level of each metric on the labelled clips of a cache's split; None where it has none."""
    labels_NC = [np.zeros((0, len(cache.classes)), np.bool_)]
    for unit in cache.units(split, 0) if split in cache.splits else ():
        rows = cache.read_unit(unit, cache.target_signals)
        labels_NC.append(true_classes(rows.targets, cache.task)[rows.labelled])
    labels = np.concatenate(labels_NC)
    return {metric: chance_level(labels, metric) for metric in metrics}

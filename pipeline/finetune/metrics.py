"""Scores of a classifier, in NumPy: what fine-tuning selects its best weights by.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def top_1_accuracy(logits_NC: Array, labels_NC: Array) -> float:
    """Give the share of clips whose highest logit is one of their labels."""
    best_N = logits_NC.argmax(axis=1)
    return float(labels_NC[np.arange(len(best_N)), best_N].mean())


def average_precision(scores_N: Array, labels_N: Array) -> float:
    """Sum precision over the steps of recall, ties counted at once, without interpolation.

    Examples
    --------
    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([1.0, 0.0, 1.0]))
    0.8333333333333333
    """
    order = np.argsort(-scores_N, kind="stable")
    hits, scores = np.cumsum(labels_N[order]), scores_N[order]
    last_of_tie = np.append(scores[1:] != scores[:-1], True)
    precision = (hits / np.arange(1, len(hits) + 1))[last_of_tie]
    recall = (hits / hits[-1])[last_of_tie]
    return float(np.sum(precision * np.diff(recall, prepend=0.0)))


def macro_average_precision(logits_NC: Array, labels_NC: Array) -> float:
    """Average over the classes that have a positive clip."""
    present = np.flatnonzero(labels_NC.any(axis=0))
    return float(np.mean([average_precision(logits_NC[:, c], labels_NC[:, c]) for c in present]))

"""What the scores of a student, of a teacher and of a fine-tuning share.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def top_1_hits(logits_NC: NDArray[Any], labels_NC: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which clips have their highest logit at their class, (N,).

    Of equal logits the first class counts, and of a mixture the classes with the largest share.

    >>> top_1_hits(np.array([[2.0, 1.0], [1.0, 1.0]]), np.array([[0.5, 0.5], [0.0, 1.0]])).tolist()
    [True, False]
    """
    best_N = logits_NC.argmax(axis=1)
    hits_N: NDArray[np.bool_] = labels_NC[np.arange(len(best_N)), best_N] == labels_NC.max(axis=1)
    return hits_N


def normalized_ranks(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Rank each value among all, from 0 to 1; equal ones share a rank.

    What orders by a threshold takes ranks, because probabilities of a confident model all round to 1
    and tie what differs.

    >>> normalized_ranks(np.array([40.0, 50.0, -1.0])).tolist()
    [0.5, 1.0, 0.0]
    """
    distinct, rank = np.unique(scores, return_inverse=True)
    return np.asarray(rank.reshape(scores.shape) / max(1, len(distinct) - 1), np.float64)

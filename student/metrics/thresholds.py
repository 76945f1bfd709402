"""The probability from which a class of a multi-label task is best decided to be there.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from student.metrics.interface import Predictions


def best_thresholds(predictions: Predictions) -> list[float | None]:
    """Probability above which each class' F1 is highest; None of a class without a positive clip.

    It lies midway between the two probabilities that it parts; of equal F1 the highest is taken.
    Choose it on validation: on the clips that it is then scored on it flatters.
    """
    probabilities_NC = np.exp(predictions.log_probabilities())
    return [
        _best(probabilities_NC[:, c], predictions.labels_NC[:, c])
        for c in range(len(predictions.classes))
    ]


def f1_above(predictions: Predictions, thresholds: Sequence[float | None]) -> list[float | None]:
    """F1 of each class decided above its threshold; None without a threshold or a positive clip."""
    probabilities_NC = np.exp(predictions.log_probabilities())
    found: list[float | None] = []
    for c, threshold in enumerate(thresholds):
        labels_N = predictions.labels_NC[:, c]
        if threshold is None or not labels_N.any():
            found.append(None)
            continue
        chosen_N = probabilities_NC[:, c] > threshold
        found.append(float(2 * (chosen_N & labels_N).sum() / (chosen_N.sum() + labels_N.sum())))
    return found


def _best(probability_N: NDArray[np.float64], labels_N: NDArray[np.bool_]) -> float | None:
    if not labels_N.any():
        return None
    order = np.argsort(-probability_N, kind="stable")
    sorted_N = probability_N[order]
    below_N = np.append(sorted_N[1:], 0.0)
    f1_N = 2 * labels_N[order].cumsum() / (np.arange(1, len(order) + 1) + labels_N.sum())
    last = int(np.where(sorted_N > below_N, f1_N, -1.0).argmax())
    return float((sorted_N[last] + below_N[last]) / 2)

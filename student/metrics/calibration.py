"""How far a model's confidence can be believed.

Shape suffixes: N clips, C classes, K bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from student.metrics.interface import Predictions

BINS = 15


@dataclass(frozen=True, slots=True)
class Calibration:
    """Answers in bins of equal width by their confidence; empty bins are left out.

    Attributes
    ----------
    confidence_K, right_K : float64, shape (K,)
        Mean confidence of a bin, and the share of its answers that are right.
    count_K : int64, shape (K,)
        Answers in it.
    """

    confidence_K: NDArray[np.float64]
    right_K: NDArray[np.float64]
    count_K: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of both, over all answers (Guo et al. 2017)."""
        gaps_K = np.abs(self.confidence_K - self.right_K)
        return float((gaps_K * self.count_K).sum() / max(1, self.count_K.sum()))


def calibration(predictions: Predictions, bins: int = BINS) -> Calibration:
    """Bin answers by their confidence.

    In a single-label task an answer is a clip's likeliest class, in a multi-label one each class of
    each clip, whose probability is compared with how often the class is there.
    """
    probabilities_NC = np.exp(predictions.log_probabilities())
    if predictions.task == "single":
        sure_N, right_N = probabilities_NC.max(1), predictions.right()
    else:
        sure_N, right_N = probabilities_NC.reshape(-1), predictions.labels_NC.reshape(-1)
    place_N = np.minimum((sure_N * bins).astype(np.int64), bins - 1)
    count_K = np.bincount(place_N, minlength=bins)
    filled_K = count_K > 0
    sums = [np.bincount(place_N, values, bins)[filled_K] for values in (sure_N, right_N)]
    count_K = count_K[filled_K]
    return Calibration(sums[0] / count_K, sums[1] / count_K, count_K)

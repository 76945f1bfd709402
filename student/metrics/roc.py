"""Area under the ROC curve, and d', which is the same on the scale of a normal variable.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray

from student.metrics.interface import MetricValue, Predictions, class_mean, unbounded

LACKING = "positives or no negatives"
RESOLUTION = float(np.finfo(np.float32).eps)


def mean_roc_auc(predictions: Predictions) -> MetricValue:
    """Macro ROC-AUC: unweighted mean over the classes that have positive and negative clips."""
    return class_mean(class_roc_aucs(predictions), LACKING)


@unbounded
def mean_d_prime(predictions: Predictions) -> MetricValue:
    """Take d' of the mean ROC-AUC over classes, which is not the mean of the classes' d'."""
    auc = mean_roc_auc(predictions)
    return MetricValue(d_prime(auc.value), auc.left_out, auc.lacking)


def d_prime(auc: float) -> float:
    """Distance of two unit normals whose ROC curve has this area: ``sqrt(2) * Phi^-1(auc)``.

    As PSLA takes it from the class-mean area (Gong, Chung & Glass 2021,
    https://arxiv.org/abs/2102.01243).

    Parameters
    ----------
    auc : float
        Between 0 and 1; NaN gives NaN.

    Returns
    -------
    float
        Infinite, with its sign, where `auc` is 1 or 0 to the resolution of float32, in which
        torchmetrics computes: a perfect class can come out as 1 - 6e-8.

    Examples
    --------
    >>> round(d_prime(0.981043), 6)
    2.935601
    """
    if np.isnan(auc):
        return auc
    if min(auc, 1 - auc) < RESOLUTION:
        return float("inf") if auc > 0.5 else float("-inf")
    return 2**0.5 * NormalDist().inv_cdf(auc)


def class_roc_aucs(predictions: Predictions) -> NDArray[np.float64]:
    """ROC-AUC of each class, (C,); NaN without a positive or without a negative clip."""
    # Imported here: torchmetrics imports every library it knows, several seconds' worth.
    from torchmetrics.functional.classification import binary_auroc

    ranks_NC = torch.from_numpy(predictions.normalized_ranks())
    labels_NC = torch.from_numpy(predictions.labels_NC).long()
    positives_C = predictions.labels_NC.sum(0).tolist()
    return np.array(
        [
            float(binary_auroc(ranks_NC[:, c], labels_NC[:, c]))
            if 0 < positives < len(labels_NC)
            else np.nan
            for c, positives in enumerate(positives_C)
        ]
    )

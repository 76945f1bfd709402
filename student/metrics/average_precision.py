"""Average precision: precision summed over the steps of recall, as scikit-learn defines it.

No interpolation between thresholds; the trapezoids of `student.metrics.sonyc` give other numbers.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from student.metrics.interface import MetricValue, Predictions, class_mean


def mean_average_precision(predictions: Predictions) -> MetricValue:
    """Macro mAP: unweighted mean of each class's average precision, as PSLA and CED report it.

    A class without a positive clip has none and is left out.
    """
    return class_mean(class_average_precisions(predictions))


def micro_average_precision(predictions: Predictions) -> MetricValue:
    """Average precision of all N x C decisions pooled: scikit-learn's ``average="micro"``.

    ``micro-auprc-sonyc`` nears it with many clips and no tied scores only.
    """
    if not predictions.labels_NC.any():
        return MetricValue(float("nan"))
    return MetricValue(
        _average_precision(predictions.normalized_ranks().ravel(), predictions.labels_NC.ravel())
    )


def class_average_precisions(predictions: Predictions) -> NDArray[np.float64]:
    """Average precision of each class, (C,); NaN without a positive clip."""
    ranks_NC, labels_NC = predictions.normalized_ranks(), predictions.labels_NC
    return np.array(
        [
            _average_precision(ranks_NC[:, c], labels_NC[:, c]) if has else np.nan
            for c, has in enumerate(labels_NC.sum(0).tolist())
        ]
    )


def _average_precision(ranks_N: NDArray[np.float64], labels_N: NDArray[np.bool_]) -> float:
    # Imported here: torchmetrics imports every library it knows, several seconds' worth.
    from torchmetrics.functional.classification import binary_average_precision

    return float(
        binary_average_precision(torch.from_numpy(ranks_N), torch.from_numpy(labels_N).long())
    )

"""What fine-tuning selects its best weights by.

Shape suffixes: N clips, C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema.scores import normalized_ranks, top_1_hits

Array = NDArray[np.float64]


def top_1_accuracy(logits_NC: Array, labels_NC: Array) -> float:
    """Give the share of clips whose highest logit is at their label."""
    return float(top_1_hits(logits_NC, labels_NC).mean())


def macro_average_precision(logits_NC: Array, labels_NC: Array) -> float:
    """Average over the classes that have a positive clip, ``student.metrics``'s mAP.

    Examples
    --------
    >>> logits_NC, labels_NC = np.array([[0.9], [0.8], [0.7]]), np.array([[1.0], [0.0], [1.0]])
    >>> round(macro_average_precision(logits_NC, labels_NC), 6)
    0.833333
    """
    # Imported here: torchmetrics imports every library it knows, several seconds' worth.
    from torchmetrics.functional.classification import binary_average_precision

    ranks_NC = torch.from_numpy(normalized_ranks(logits_NC))
    targets_NC = torch.from_numpy(labels_NC > 0)
    present = [c for c in range(targets_NC.shape[1]) if targets_NC[:, c].any()]
    values = [binary_average_precision(ranks_NC[:, c], targets_NC[:, c].long()) for c in present]
    return float(torch.stack(values).double().mean()) if values else float("nan")

"""What a model predicted for a clip, in words.

Shape suffixes: C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip import Clip


def label_text(clip: Clip) -> str:
    """Name a clip's classes."""
    return "; ".join(clip.labels) or ("none of the classes" if clip.labelled else "unlabelled")


def prediction_text(
    logits_C: NDArray[np.floating], classes: Sequence[str], task: str, most: int = 1
) -> str:
    """Name the likeliest classes with their probabilities.

    In a multi-label task those above one half, and at least the likeliest.

    >>> prediction_text(np.array([0.0, 2.0, -9.0]), ["no", "yes", "up"], "single", 2)
    'yes 88 %, no 12 %'
    >>> prediction_text(np.array([-1.0, 2.0, 3.0]), ["rain", "dog", "car"], "multi", 3)
    'car 95 %, dog 88 %'
    """
    logits_C = np.asarray(logits_C, np.float64)
    if task == "single":
        shares_C = np.exp(logits_C - np.logaddexp.reduce(logits_C))
    else:
        shares_C = np.exp(-np.logaddexp(0.0, -logits_C))
    order = np.argsort(-shares_C, kind="stable")[:most].tolist()
    kept = order if task == "single" else [order[0], *(c for c in order[1:] if shares_C[c] > 0.5)]
    return ", ".join(f"{classes[c]} {100 * shares_C[c]:.0f} %" for c in kept)

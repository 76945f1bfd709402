"""What a model predicted for a clip, in words.

Shape suffixes: C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip import Clip

MOST_LABELS = 8  # named of a clip


def label_text(clip: Clip) -> str:
    """Name a clip's classes."""
    return "; ".join(clip.labels) or ("none of the classes" if clip.labelled else "unlabelled")


def prediction_text(
    logits_C: NDArray[np.floating], classes: Sequence[str], task: str, most: int = 1
) -> str:
    """Name the likeliest classes with their probabilities.

    In a single-label task the first `most`. In a multi-label one those above one half, of very many the
    likeliest; where none is, the likeliest as what it is.

    >>> prediction_text(np.array([0.0, 2.0, -9.0]), ["no", "yes", "up"], "single", 2)
    'yes 88 %, no 12 %'
    >>> prediction_text(np.array([-1.0, 2.0, 3.0]), ["rain", "dog", "car"], "multi")
    'car 95 %, dog 88 %'
    >>> prediction_text(np.array([-1.0, -2.0]), ["rain", "dog"], "multi")
    'none above 50 % (rain 27 %)'
    """
    logits_C = np.asarray(logits_C, np.float64)
    if task == "single":
        shares_C = np.exp(logits_C - np.logaddexp.reduce(logits_C))
    else:
        shares_C = np.exp(-np.logaddexp(0.0, -logits_C))
        most = max(1, min(MOST_LABELS, int((shares_C > 0.5).sum())))
    order = np.argsort(-shares_C, kind="stable")[:most].tolist()
    text = ", ".join(f"{classes[c]} {100 * shares_C[c]:.0f} %" for c in order)
    if task == "multi" and shares_C[order[0]] <= 0.5:
        return f"none above 50 % ({text})"
    return text

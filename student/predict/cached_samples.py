"""Samples as a cache holds them, of 16 bits: what a student has learned with.

Shape suffix: S samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cache_schema.signal_names import FULL_SCALE


def as_cached(waveform_S: NDArray[np.floating], *, limited: bool = True) -> NDArray[np.float64]:
    """Give the samples that a cache would hold: 16 bits, limited to full scale.

    Parameters
    ----------
    waveform_S : array of floats, shape (S,)
        A clip, or a stretch of a stream.
    limited : bool
        Louder than full scale, a clip is made quieter as a whole, as a cache does it; of a stream, whose
        rest is not known yet, the loudest samples are cut off.
    """
    exact_S = waveform_S.astype(np.float64) * FULL_SCALE
    peak = float(np.abs(exact_S).max(initial=0.0))
    if limited and peak > FULL_SCALE - 1:
        exact_S *= (FULL_SCALE - 1) / peak
    return np.clip(np.round(exact_S), -FULL_SCALE, FULL_SCALE - 1) / FULL_SCALE

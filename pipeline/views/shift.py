"""View step ``shift``: move a clip in time, zeros where nothing is left."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UsageError


class Shift:
    """Shift by up to `max_s` seconds either way (kws_streaming trains with 0.1 s)."""

    def __init__(self, *, max_s: float = 0.1) -> None:
        if not 0 <= max_s < math.inf:
            raise UsageError(
                f"view shift: max_s must be seconds from 0, got {max_s:g}", kind="options"
            )
        self._max_s = max_s
        self._sample_rate_hz = 0

    def prepare(self, corpus_root: Path, sample_rate_hz: int) -> dict[str, Any]:
        """Remember the rate."""
        self._sample_rate_hz = sample_rate_hz
        return {}

    def apply(
        self, waveform_S: NDArray[np.float32], generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Shift the waveform; its length stays."""
        limit = min(int(self._max_s * self._sample_rate_hz), len(waveform_S) - 1)
        offset = int(generator.integers(-limit, limit + 1))
        shifted = np.zeros_like(waveform_S)
        kept = len(waveform_S) - abs(offset)
        target, source = max(offset, 0), max(-offset, 0)
        shifted[target : target + kept] = waveform_S[source : source + kept]
        return shifted

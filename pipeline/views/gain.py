"""View step ``gain``: a random level, uniform in decibels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.views.interface import check_range


class Gain:
    """Multiply by a gain drawn from [`low_db`, `high_db`]."""

    def __init__(self, *, low_db: float = -6.0, high_db: float = 6.0) -> None:
        check_range("gain", low_db, high_db)
        self._range_db = (low_db, high_db)

    def prepare(self, corpus_root: Path, sample_rate_hz: int) -> dict[str, Any]:
        """Nothing to load."""
        return {}

    def apply(
        self, waveform_S: NDArray[np.float32], generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Scale the waveform."""
        return waveform_S * np.float32(10 ** (generator.uniform(*self._range_db) / 20))

"""View step ``gain``: a random level, uniform in decibels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.views.interface import AudioView, Drawn, PlainStep, check_range


class Gain(PlainStep):
    """Multiply by a gain drawn from [`low_db`, `high_db`]."""

    draws = ("gain_db",)

    def __init__(self, *, low_db: float = -6.0, high_db: float = 6.0) -> None:
        check_range("gain", low_db, high_db)
        self._range_db = (low_db, high_db)

    def draw(self, samples: int, split: str, random: np.random.Generator) -> Drawn:
        """Draw the gain."""
        return (float(random.uniform(*self._range_db)),)

    def apply(self, audio: AudioView, drawn: Drawn) -> AudioView:
        """Scale the waveform."""
        (gain_db,) = drawn
        return replace(audio, waveform_S=audio.waveform_S * np.float32(10 ** (gain_db / 20)))

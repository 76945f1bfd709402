"""View step ``speed``: play a clip faster or slower, and thereby higher or lower."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cache_schema.errors import UsageError
from pipeline.audio.decode import resample_exactly, resampled_length
from pipeline.views.interface import AudioView, Drawn, PlainStep

# Factors are whole thousandths, so that length and resampler go by the same ratio of whole rates.
UNIT = 1000
# From here to its inverse no clip loses its last sample.
MIN_SPEED, MAX_SPEED = 0.5, 2.0


class Speed(PlainStep):
    """Play at a speed drawn from [`low`, `high`], in thousandths.

    As Ko et al. 2015 (Audio Augmentation for Speech Recognition, section 2), who train with 0.9, 1
    and 1.1.
    """

    draws = ("factor",)
    changes_length = True
    draws_length = True

    def __init__(self, *, low: float = 0.9, high: float = 1.1) -> None:
        if not MIN_SPEED <= low <= high <= MAX_SPEED:
            raise UsageError(
                f"view speed: low={low} and high={high} must be a range within {MIN_SPEED:g} to "
                f"{MAX_SPEED:g}",
                kind="options",
            )
        self._range = (round(low * UNIT), round(high * UNIT))

    def draw(self, samples: int, split: str, random: np.random.Generator) -> Drawn:
        """Draw the factor."""
        low, high = self._range
        return (int(random.integers(low, high + 1)) / UNIT,)

    def length(self, samples: int, drawn: Drawn) -> int:
        """Give the length at the drawn speed."""
        return resampled_length(samples, round(drawn[0] * UNIT), UNIT)

    def apply(self, audio: AudioView, drawn: Drawn) -> AudioView:
        """Resample as if the clip had been recorded at `factor` times its rate."""
        return replace(
            audio,
            waveform_S=resample_exactly(audio.waveform_S, round(drawn[0] * UNIT), UNIT),
            start=self.length(audio.start, drawn),
            stop=self.length(audio.stop, drawn),
        )

"""View step ``speed``: play a clip faster or slower, and thereby higher or lower."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cache_schema.errors import UsageError
from pipeline.audio.decode import resample_exactly, resampled_length
from pipeline.views.interface import Drawn, PlainStep, Variant

# Factors are whole thousandths, so that length and resampler go by the same ratio of whole rates.
UNIT = 1000
# From here to its inverse no clip loses its last sample.
LEAST, MOST = 0.5, 2.0


class Speed(PlainStep):
    """Play at a speed drawn from [`low`, `high`], in thousandths.

    As Ko et al. 2015 (Audio Augmentation for Speech Recognition, section 2), who train with 0.9, 1
    and 1.1.
    """

    draws = ("factor",)
    changes_length = True
    draws_length = True

    def __init__(self, *, low: float = 0.9, high: float = 1.1) -> None:
        if not LEAST <= low <= high <= MOST:
            raise UsageError(
                f"view speed: low={low:g} and high={high:g} must be a range within {LEAST:g} to "
                f"{MOST:g}",
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

    def apply(self, heard: Variant, drawn: Drawn) -> Variant:
        """Resample as if the clip had been recorded at `factor` times its rate."""
        return replace(
            heard,
            waveform_S=resample_exactly(heard.waveform_S, round(drawn[0] * UNIT), UNIT),
            start=self.length(heard.start, drawn),
            stop=self.length(heard.stop, drawn),
        )

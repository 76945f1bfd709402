"""View step ``shift``: move a clip in time, zeros where nothing is left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from cache_schema.errors import UsageError
from pipeline.views.interface import MAX_SECONDS, AudioView, Drawn, PlainStep, ViewContext


class Shift(PlainStep):
    """Shift by up to `max_s` seconds either way (kws_streaming trains with 0.1 s)."""

    draws = ("shift_s",)

    def __init__(self, *, max_s: float = 0.1) -> None:
        if not 0 <= max_s <= MAX_SECONDS:
            raise UsageError(
                f"view shift: max_s must be seconds from 0 to {MAX_SECONDS:g}, got {max_s}",
                kind="options",
            )
        self._max_s = max_s
        self._rate_hz = 0

    def prepare(self, context: ViewContext) -> dict[str, Any]:
        """Remember the rate."""
        self._rate_hz = context.sample_rate_hz
        return {}

    def draw(self, samples: int, split: str, random: np.random.Generator) -> Drawn:
        """Draw the way, less than the whole clip."""
        limit = min(int(self._max_s * self._rate_hz), samples - 1)
        return (int(random.integers(-limit, limit + 1)) / self._rate_hz,)

    def apply(self, audio: AudioView, drawn: Drawn) -> AudioView:
        """Shift the waveform; its length stays."""
        offset, samples = round(drawn[0] * self._rate_hz), len(audio.waveform_S)
        shifted_S = np.zeros_like(audio.waveform_S)
        kept = samples - abs(offset)
        target, source = max(offset, 0), max(-offset, 0)
        shifted_S[target : target + kept] = audio.waveform_S[source : source + kept]
        start, stop = (min(max(edge + offset, 0), samples) for edge in (audio.start, audio.stop))
        return replace(audio, waveform_S=shifted_S, start=start, stop=stop)

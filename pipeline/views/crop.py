"""View step ``crop``: a stretch of a longer clip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.views.interface import Drawn, PlainStep, Variant, ViewContext, check_seconds


class Crop(PlainStep):
    """Keep a uniformly drawn stretch of `length_s` seconds; shorter clips stay as they are."""

    draws = ("start_s",)
    changes_length = True

    def __init__(self, *, length_s: float) -> None:
        check_seconds("crop", "length_s", length_s)
        self._length_s = length_s
        self._rate_hz = 0

    def prepare(self, context: ViewContext) -> dict[str, Any]:
        """Remember the rate."""
        self._rate_hz = context.sample_rate_hz
        return {}

    def draw(self, samples: int, split: str, random: np.random.Generator) -> Drawn:
        """Draw where the stretch begins."""
        room = samples - self.length(samples, ())
        return (int(random.integers(room + 1)) / self._rate_hz,)

    def length(self, samples: int, drawn: Drawn) -> int:
        """Give the length of the stretch, a sample at least."""
        return min(samples, max(1, round(self._length_s * self._rate_hz)))

    def apply(self, heard: Variant, drawn: Drawn) -> Variant:
        """Cut the stretch out; what is left of the clip itself may be nothing."""
        begin = round(drawn[0] * self._rate_hz)
        end = begin + self.length(len(heard.waveform_S), drawn)
        start, stop = (min(max(edge, begin), end) - begin for edge in (heard.start, heard.stop))
        return replace(heard, waveform_S=heard.waveform_S[begin:end], start=start, stop=stop)

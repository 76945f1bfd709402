"""View step ``placement``: a clip somewhere in a longer stretch of silence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.views.interface import Drawn, PlainStep, Variant, ViewContext, check_seconds


class Placement(PlainStep):
    """Put the clip at a uniformly drawn place of `length_s` seconds, zeros around it.

    With ``noise`` behind it this makes keywords in noise, as in Choi et al. 2022, figure 2. A clip that
    is longer already stays as it is; ``crop`` shortens it.
    """

    draws = ("start_s",)
    changes_length = True

    def __init__(self, *, length_s: float) -> None:
        check_seconds("placement", "length_s", length_s)
        self._length_s = length_s
        self._rate_hz = 0

    def prepare(self, context: ViewContext) -> dict[str, Any]:
        """Remember the rate."""
        self._rate_hz = context.sample_rate_hz
        return {}

    def draw(self, samples: int, split: str, random: np.random.Generator) -> Drawn:
        """Draw where the clip begins."""
        room = self.length(samples, ()) - samples
        return (int(random.integers(room + 1)) / self._rate_hz,)

    def length(self, samples: int, drawn: Drawn) -> int:
        """Give the full length."""
        return max(samples, round(self._length_s * self._rate_hz))

    def apply(self, heard: Variant, drawn: Drawn) -> Variant:
        """Put the clip in its place."""
        start, samples = round(drawn[0] * self._rate_hz), len(heard.waveform_S)
        placed_S = np.zeros(self.length(samples, drawn), np.float32)
        placed_S[start : start + samples] = heard.waveform_S
        return replace(
            heard, waveform_S=placed_S, start=heard.start + start, stop=heard.stop + start
        )

"""View step ``placement``: a clip somewhere in a longer stretch of silence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.views.interface import AudioView, Drawn, FixedLengthStep


class Placement(FixedLengthStep):
    """Put the clip at a uniformly drawn place of `length_s` seconds, zeros around it.

    With ``noise`` behind it this makes keywords in noise, as in Choi et al. 2022, figure 2. A clip that
    is longer already stays as it is; ``crop`` shortens it.
    """

    example = "placement:length_s=0.12"

    def length(self, samples: int, drawn: Drawn) -> int:
        """Give the full length."""
        return max(samples, round(self.length_s * self.rate_hz))

    def apply(self, audio: AudioView, drawn: Drawn) -> AudioView:
        """Put the clip in its place."""
        start, samples = round(drawn[0] * self.rate_hz), len(audio.waveform_S)
        placed_S = np.zeros(self.length(samples, drawn), np.float32)
        placed_S[start : start + samples] = audio.waveform_S
        return replace(
            audio, waveform_S=placed_S, start=audio.start + start, stop=audio.stop + start
        )

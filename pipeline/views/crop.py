"""View step ``crop``: a stretch of a longer clip."""

from __future__ import annotations

from dataclasses import replace

from pipeline.views.interface import AudioView, Drawn, FixedLengthStep


class Crop(FixedLengthStep):
    """Keep a uniformly drawn stretch of `length_s` seconds; shorter clips stay as they are."""

    example = "crop:length_s=0.08"

    def length(self, samples: int, drawn: Drawn) -> int:
        """Give the length of the stretch, a sample at least."""
        return min(samples, max(1, round(self.length_s * self.rate_hz)))

    def apply(self, audio: AudioView, drawn: Drawn) -> AudioView:
        """Cut the stretch out; what is left of the clip itself may be nothing."""
        begin = round(drawn[0] * self.rate_hz)
        end = begin + self.length(len(audio.waveform_S), drawn)
        start, stop = (min(max(edge, begin), end) - begin for edge in (audio.start, audio.stop))
        return replace(audio, waveform_S=audio.waveform_S[begin:end], start=start, stop=stop)

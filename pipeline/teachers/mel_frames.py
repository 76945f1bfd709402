"""Where the frames of ``ASTFeatureExtractor`` lie: windows of 25 ms every 10 ms, all within the clip."""

from __future__ import annotations

from dataclasses import dataclass

_WINDOW_S, _HOP_S = 0.025, 0.01  # fixed in the extractor


@dataclass(frozen=True, slots=True)
class MelFrames:
    """The frames of log-mel features at a sample rate."""

    rate_hz: int

    @property
    def hop_s(self) -> float:
        """Seconds from one frame to the next."""
        return int(_HOP_S * self.rate_hz) / self.rate_hz

    def count(self, samples: int) -> int:
        """Count the frames of an input of `samples` samples."""
        return 1 + (samples - self.samples(1)) // int(_HOP_S * self.rate_hz)

    def samples(self, frames: int) -> int:
        """Give the fewest samples that fill so many frames."""
        return int(_WINDOW_S * self.rate_hz) + (frames - 1) * int(_HOP_S * self.rate_hz)

    def centre_s(self, frame: float) -> float:
        """Return when a frame is centred, in seconds after the first sample."""
        return 0.5 * int(_WINDOW_S * self.rate_hz) / self.rate_hz + frame * self.hop_s

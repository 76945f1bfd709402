"""Where the frames of a signal, of features or of a student's context lie in time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FrameGrid:
    """Where frames lie in time: frame t is centred at ``first_frame_s + t * hop_s``.

    Attributes
    ----------
    hop_s : float
        Seconds from one frame to the next.
    first_frame_s : float
        Centre of frame 0 in seconds after the first sample.
    """

    hop_s: float
    first_frame_s: float

    def pooled(self, factor: int) -> FrameGrid:
        """Give the grid of frames that average `factor` consecutive frames of this one.

        >>> FrameGrid(hop_s=0.25, first_frame_s=0.0).pooled(4)
        FrameGrid(hop_s=1.0, first_frame_s=0.375)
        """
        centre_s = self.first_frame_s + 0.5 * (factor - 1) * self.hop_s
        return FrameGrid(self.hop_s * factor, centre_s)

"""The log-mel picture of a waveform of any rate, and where its bands lie in Hz.

Shape suffixes: S samples, T frames, M mel bands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cache_schema.front_ends import FRONT_ENDS, band_centres_hz, front_end_features
from cache_schema.signal_names import FULL_SCALE

QUIET_PERCENTILE = 2  # darker than this shows nothing but the floor
CLOSEST = 0.1  # of the height; names that are closer overlap
TICKS_HZ = (100, 200, 500, 1000, 2000, 4000, 8000, 16_000)


@dataclass(frozen=True, slots=True)
class LogMel:
    """A log-mel picture.

    Attributes
    ----------
    bands_TM : float32, shape (T, M)
        Natural logarithm of the bands' magnitudes.
    span_s : (float, float)
        Where the first frame begins and the last one ends.
    floor : float
        What is as dark as silence.
    centres_hz_M : float64, shape (M,)
        Centre of each band.
    """

    bands_TM: NDArray[np.float32]
    span_s: tuple[float, float]
    floor: float
    centres_hz_M: NDArray[np.float64]

    def ticks(self) -> dict[float, str]:
        """Height of round frequencies, in bands from the lower edge of the first, and their names.

        >>> centres = np.array([100.0, 300.0, 500.0])
        >>> LogMel(np.zeros((1, 3), np.float32), (0.0, 1.0), 0.0, centres).ticks()
        {0.5: '100', 1.0: '200', 2.5: '500'}
        """
        bands = len(self.centres_hz_M)
        inside = [f for f in TICKS_HZ if self.centres_hz_M[0] <= f <= self.centres_hz_M[-1]]
        heights = np.interp(inside, self.centres_hz_M, np.arange(bands) + 0.5)
        shown: dict[float, str] = {}
        for height, frequency in zip(heights.tolist(), inside, strict=True):
            if height - max(shown, default=-bands) >= CLOSEST * bands:
                shown[height] = f"{frequency:,}"
        return shown


def log_mel(samples_S: NDArray[np.int16], sample_rate_hz: int) -> LogMel:
    """Draw up the preset ``log_mel`` at the waveform's own rate."""
    known = FRONT_ENDS["log_mel"]
    scale = sample_rate_hz / known.sample_rate_hz
    preset = replace(
        known,
        sample_rate_hz=sample_rate_hz,
        window_samples=round(known.window_samples * scale),
        hop_samples=round(known.hop_samples * scale),
        dft_samples=round(known.dft_samples * scale),
        high_hz=min(known.high_hz, sample_rate_hz / 2),
    )
    bands_TM = front_end_features(samples_S.astype(np.float64) / FULL_SCALE, preset)
    begin_s = preset.first_frame_s - preset.hop_s / 2
    return LogMel(
        bands_TM,
        (begin_s, begin_s + len(bands_TM) * preset.hop_s),
        float(np.percentile(bands_TM, QUIET_PERCENTILE)),
        band_centres_hz(preset),
    )

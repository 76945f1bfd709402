"""Front ends: how a waveform becomes features, as specifications with a NumPy reference.

The presets follow kws_streaming's ``mfcc_tf`` recipe (Rybakov et al. 2020; its
kws_experiments_paper_12_labels.md): 40 ms periodic Hann window every 20 ms, magnitude of a
1024-point DFT, HTK mel bands as TensorFlow's ``linear_to_mel_weight_matrix`` builds them, natural
logarithm, and TensorFlow's DCT-II. No pre-emphasis, no normalisation.

They follow the recipe as it is written down, 20 to 7000 Hz, which no published model had exactly: the
code of 2020 gives its mel matrix the bins of a DFT of another size, so that its bands lie at other
frequencies than their names suggest, and the commands of today have an upper edge of 7600 Hz (MHAtt-RNN:
8000 Hz). Weights trained there need the front end that they were trained with.

``log_mel128`` has the bands and times of CMKD (Gong et al. 2022) and EfficientAT (Schmid et al.
2023): 128 bands from 25 ms every 10 ms. In two things it is no copy. 512 points would do for 25 ms, but
the lowest bands are narrower than their 31 Hz: one would hold no bin of the DFT and others nearly
none, so it takes 1024. And its floor of 1e-4 is about what the rounding of a 16-bit recording
leaves in the weakest band: digital silence then looks like the quietest sound, where the floor of
1e-12 would put it 18 nepers below and into any mean and deviation.

Shape suffixes: S samples, T frames, W window samples, F DFT bins, M mel bands, K coefficients.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontEnd:
    """Specification of a front end; with `coefficients` an MFCC, otherwise a log-mel."""

    name: str
    sample_rate_hz: int = 16_000
    window_samples: int = 640
    hop_samples: int = 320
    dft_samples: int = 1024
    mel_bands: int = 40
    low_hz: float = 20.0
    high_hz: float = 7000.0
    coefficients: int | None = None
    log_floor: float = 1e-12

    @property
    def hop_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop_samples / self.sample_rate_hz

    @property
    def first_frame_s(self) -> float:
        """Centre of frame 0."""
        return self.window_samples / 2 / self.sample_rate_hz

    @property
    def features(self) -> int:
        """Features of a frame."""
        return self.coefficients or self.mel_bands


FRONT_ENDS = {
    preset.name: preset
    for preset in (
        FrontEnd(name="mfcc", coefficients=20),
        FrontEnd(name="mfcc_8khz", coefficients=20, high_hz=8000.0),
        FrontEnd(name="mfcc40", coefficients=40),
        FrontEnd(name="log_mel"),
        FrontEnd(
            name="log_mel128",
            window_samples=400,
            hop_samples=160,
            mel_bands=128,
            high_hz=8000.0,
            log_floor=1e-4,
        ),
    )
}


def front_end_facts(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Parameters of those `names` that are front ends, as a part records them with its features."""
    return {name: asdict(FRONT_ENDS[name]) for name in names if name in FRONT_ENDS}


def frame_count(samples: int, front_end: FrontEnd) -> int:
    """Whole windows in a waveform; a shorter one is zero-padded to one window."""
    return 1 + max(samples - front_end.window_samples, 0) // front_end.hop_samples


def sample_count(frames: int, front_end: FrontEnd) -> int:
    """Samples of the shortest waveform that has so many frames."""
    return front_end.window_samples + (frames - 1) * front_end.hop_samples


def hann_window(front_end: FrontEnd) -> FloatArray:
    """Periodic Hann window, shape (W,)."""
    samples = front_end.window_samples
    window_W: FloatArray = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)
    return window_W


def band_centres_hz(front_end: FrontEnd) -> FloatArray:
    """Centre of each mel band, shape (M,)."""
    edges = np.linspace(_mel(front_end.low_hz), _mel(front_end.high_hz), front_end.mel_bands + 2)
    centres_M: FloatArray = 700.0 * np.expm1(edges[1:-1] / 1127.0)
    return centres_M


@cache
def mel_matrix(front_end: FrontEnd) -> FloatArray:
    """Weights from DFT bins to mel bands, shape (F, M): triangles linear in HTK mel, peak 1.

    As TensorFlow does it: the weight of the DC bin is 0 and triangles are not area-normalised.
    """
    bins_hz = np.arange(front_end.dft_samples // 2 + 1) * (
        front_end.sample_rate_hz / front_end.dft_samples
    )
    edges = np.linspace(_mel(front_end.low_hz), _mel(front_end.high_hz), front_end.mel_bands + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    mel_F1 = _mel(bins_hz)[:, None]
    rising_FM = (mel_F1 - lower) / (centre - lower)
    falling_FM = (upper - mel_F1) / (upper - centre)
    weights_FM: FloatArray = np.maximum(0.0, np.minimum(rising_FM, falling_FM))
    weights_FM[0] = 0.0
    return weights_FM


def _mel(frequency_hz: Any) -> FloatArray:
    mel: FloatArray = 1127.0 * np.log1p(np.asarray(frequency_hz, np.float64) / 700.0)
    return mel


@cache
def dct_matrix(front_end: FrontEnd) -> FloatArray:
    """DCT-II from mel bands to coefficients, shape (M, K), scaled by sqrt(2 / M) throughout.

    As ``tf.signal.mfccs_from_log_mel_spectrograms``; coefficient 0 is not scaled down further.
    """
    bands, kept = front_end.mel_bands, front_end.coefficients or front_end.mel_bands
    angle_MK = np.pi / bands * (np.arange(bands)[:, None] + 0.5) * np.arange(kept)
    matrix_MK: FloatArray = np.sqrt(2.0 / bands) * np.cos(angle_MK)
    return matrix_MK


def front_end_features(
    waveform_S: NDArray[np.floating], front_end: FrontEnd
) -> NDArray[np.float32]:
    """Reference implementation in float64.

    Parameters
    ----------
    waveform_S : float array, shape (S,)
        Samples in [-1, 1) at the front end's rate.
    front_end : FrontEnd
        The specification.

    Returns
    -------
    float32 array, shape (T, K) or (T, M)
    """
    window, hop = front_end.window_samples, front_end.hop_samples
    padded_S = np.zeros(max(len(waveform_S), window))
    padded_S[: len(waveform_S)] = waveform_S
    frames = frame_count(len(waveform_S), front_end)
    windows_TW = np.lib.stride_tricks.sliding_window_view(padded_S, window)[::hop][:frames]
    spectrum_TF = np.abs(np.fft.rfft(windows_TW * hann_window(front_end), front_end.dft_samples))
    log_mel_TM = np.log(np.maximum(spectrum_TF @ mel_matrix(front_end), front_end.log_floor))
    if front_end.coefficients is None:
        return log_mel_TM.astype(np.float32)
    return (log_mel_TM @ dct_matrix(front_end)).astype(np.float32)

"""Front ends against scipy, hand values and each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch

from cache_schema.front_ends import (
    FRONT_ENDS,
    FrontEnd,
    dct_matrix,
    frame_count,
    front_end_features,
    mel_matrix,
)
from student.stream.front_end import TorchFrontEnd

# window, hop, bands, highest frequency, floor: again, so that a changed preset is noticed
RECIPES = {
    "mfcc": (640, 320, 40, 7000, 1e-12),
    "mfcc_8khz": (640, 320, 40, 8000, 1e-12),
    "mfcc40": (640, 320, 40, 7000, 1e-12),
    "log_mel": (640, 320, 40, 7000, 1e-12),
    "log_mel128": (400, 160, 128, 8000, 1e-4),
}

presets = pytest.mark.parametrize("front_end", FRONT_ENDS.values(), ids=FRONT_ENDS)


def speechlike(samples: int, seed: int = 0) -> np.ndarray:
    """A loud low tone over rounding noise of 16 bits: the spread between bands is large."""
    generator = np.random.default_rng(seed)
    tone = 0.8 * np.sin(2 * np.pi * 220 * np.arange(samples) / 16_000)
    return np.round(32767 * tone + generator.normal(0, 1, samples)) / 32768


def by_scipy(waveform: np.ndarray, front_end: FrontEnd) -> np.ndarray:
    """The recipe again, with scipy's framing, transform, filters from a loop, and DCT."""
    size, hop, count, high_hz, floor = RECIPES[front_end.name]
    window = scipy.signal.get_window("hann", size, fftbins=True)
    frames = [waveform[t : t + size] * window for t in range(0, len(waveform) - size + 1, hop)]
    magnitude = np.abs(scipy.fft.rfft(np.array(frames), 1024))

    def mel(hz: float) -> float:
        return float(1127 * np.log(1 + hz / 700))

    edges = np.linspace(mel(20), mel(high_hz), count + 2)
    bands = np.zeros((len(frames), count))
    for band in range(count):
        low, centre, high = edges[band : band + 3]
        for k in range(1, 513):
            m = mel(k * 16_000 / 1024)
            weight = min((m - low) / (centre - low), (high - m) / (high - centre))
            bands[:, band] += max(weight, 0) * magnitude[:, k]
    log_mel = np.log(np.maximum(bands, floor))
    if front_end.coefficients is None:
        return log_mel
    return scipy.fft.dct(log_mel, type=2)[:, : front_end.coefficients] / np.sqrt(2 * count)


@presets
def test_reference_agrees_with_scipy(front_end: FrontEnd) -> None:
    waveform = speechlike(4000)
    expected = by_scipy(waveform, front_end)
    np.testing.assert_allclose(front_end_features(waveform, front_end), expected, atol=1e-4)


@presets
@pytest.mark.parametrize("samples", [1, 639, 640, 959, 960, 5000])
def test_torch_twin_agrees_with_the_reference(front_end: FrontEnd, samples: int) -> None:
    waveform = speechlike(samples).astype(np.float32)
    padded = torch.nn.functional.pad(torch.from_numpy(waveform), (0, 777), value=0.5)
    features, frames = TorchFrontEnd(front_end)(padded[None], torch.tensor([samples]))
    assert frames.tolist() == [frame_count(samples, front_end)]
    expected = front_end_features(waveform, front_end)
    np.testing.assert_allclose(features[0, : len(expected)].numpy(), expected, atol=1e-4)
    assert (features[0, len(expected) :] == 0).all()


@presets
def test_a_rows_features_do_not_depend_on_its_batch(front_end: FrontEnd) -> None:
    twin = TorchFrontEnd(front_end)
    batch = torch.from_numpy(np.stack([speechlike(8000, seed) for seed in range(5)])).float()
    lengths = torch.tensor([8000, 100, 3333, 640, 7999])
    together, frames = twin(batch, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, count = twin(batch[row : row + 1, :length], lengths[row : row + 1])
        assert count[0] == frames[row]
        torch.testing.assert_close(together[row, : count[0]], alone[0], atol=1e-5, rtol=0)


def test_digital_silence_is_the_floor() -> None:
    features = front_end_features(np.zeros(1000), FRONT_ENDS["log_mel"])
    np.testing.assert_allclose(features, np.log(1e-12), rtol=1e-6)


def test_digital_silence_is_near_what_rounding_leaves_of_the_weakest_bands() -> None:
    """So that it is no outlier among the features of 16-bit recordings."""
    front_end = FRONT_ENDS["log_mel128"]
    sound = np.random.default_rng(0).normal(0, 1000, 48_000)
    rounding = (np.round(sound) - sound) / 32768
    quietest = front_end_features(rounding, replace(front_end, log_floor=1e-12)).mean(0)
    silence = front_end_features(np.zeros(1000), front_end)
    np.testing.assert_allclose(silence, np.log(1e-4), rtol=1e-6)
    assert abs(quietest.min() - silence[0, 0]) < 1
    assert quietest.max() - silence[0, 0] < 3


@presets
def test_no_mel_band_is_without_bins(front_end: FrontEnd) -> None:
    coverage = mel_matrix(front_end).sum(0)
    assert coverage.min() > 0.5
    assert np.linalg.matrix_rank(mel_matrix(front_end)) == front_end.mel_bands


def test_512_points_would_leave_bands_of_128_without_bins() -> None:
    weights = mel_matrix(replace(FRONT_ENDS["log_mel128"], dft_samples=512))
    assert weights[:, 3].sum() == 0
    assert np.linalg.matrix_rank(weights) < 128


def test_mel_triangles_leave_out_dc_and_peak_at_most_at_one() -> None:
    weights = mel_matrix(FRONT_ENDS["mfcc"])
    assert weights.shape == (513, 40)
    assert (weights[0] == 0).all()
    assert 0.8 < weights.max() <= 1


def test_dct_scales_the_first_coefficient_like_the_others() -> None:
    matrix = dct_matrix(FRONT_ENDS["mfcc40"])
    gram = matrix.T @ matrix
    np.testing.assert_allclose(gram, np.diag([2.0] + [1.0] * 39), atol=1e-12)


def test_one_second_has_49_frames_centred_from_20_ms() -> None:
    front_end = FRONT_ENDS["mfcc"]
    assert frame_count(16_000, front_end) == 49
    assert front_end.first_frame_s == pytest.approx(0.020)
    assert front_end.hop_s == pytest.approx(0.020)

"""The length arithmetic of the plan is what decoding yields, for any rates and lengths."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.audio.decode import decode, resampled_length, scan_header

RATES_HZ = st.one_of(
    st.sampled_from(
        [8000, 11_025, 12_000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000]
    ),
    st.integers(4000, 100_000),
)
FRAMES = st.one_of(st.integers(1, 300), st.integers(1, 60_000))
quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quick
@given(frames=FRAMES, source_rate_hz=RATES_HZ, sample_rate_hz=RATES_HZ)
def test_decoding_yields_exactly_the_planned_samples(
    tmp_path: Path, frames: int, source_rate_hz: int, sample_rate_hz: int
) -> None:
    planned = resampled_length(frames, source_rate_hz, sample_rate_hz)
    if planned == 0:
        return
    path = tmp_path / "clip.wav"
    content = io.BytesIO()
    soundfile.write(content, np.full(frames, 0.1), source_rate_hz, format="WAV")
    path.write_bytes(content.getvalue())
    assert scan_header(path)[:2] == (frames, source_rate_hz)
    assert len(decode(path, sample_rate_hz=sample_rate_hz).waveform) == planned


@given(frames=st.integers(0, 10**10), source_rate_hz=RATES_HZ, sample_rate_hz=RATES_HZ)
def test_the_length_is_within_half_a_sample_of_the_duration(
    frames: int, source_rate_hz: int, sample_rate_hz: int
) -> None:
    exact = Fraction(frames * sample_rate_hz, source_rate_hz)
    error = resampled_length(frames, source_rate_hz, sample_rate_hz) - exact
    assert Fraction(-1, 2) < error <= Fraction(1, 2)


@quick
@given(frames=st.integers(2, 5000), cut=st.floats(0.05, 0.95))
def test_two_segments_that_meet_share_no_frame_and_miss_none(
    tmp_path: Path, frames: int, cut: float
) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.zeros(frames), 8000)
    middle_s = cut * frames / 8000
    first = scan_header(path, 0.0, middle_s).frames
    second = scan_header(path, middle_s, None).frames
    assert first + second == frames

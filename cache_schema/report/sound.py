"""A cached waveform as a page plays it."""

from __future__ import annotations

import base64
import io
import wave

import numpy as np
from numpy.typing import NDArray

MAX_SOUND_S = 30.0  # of longer clips a page has the picture alone


def wav_address(samples_S: NDArray[np.int16], sample_rate_hz: int) -> str:
    """Write a mono waveform, shape (S,), as a ``data:`` address of a WAV file, sample for sample."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(samples_S.astype("<i2").tobytes())
    return f"data:audio/wav;base64,{base64.b64encode(buffer.getvalue()).decode()}"

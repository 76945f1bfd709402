"""``u8log``: attention in one byte a frame, on a logarithmic scale.

Code 0 is exactly 0; code k = 1..255 is exp(ln(1e-6) * (255 - k) / 254), so neighbouring codes differ
by 5.6 % and a value is off by 2.8 % at most. Decoded rows are renormalised to sum to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_VALUE = 1e-6
STEPS = 254
RATIO = MIN_VALUE ** (-1 / STEPS)
"""How much larger a value is than that of the code below."""
TABLE: NDArray[np.float32] = np.concatenate(
    [[0.0], np.exp(np.log(MIN_VALUE) * (255 - np.arange(1, 256)) / STEPS)]
).astype(np.float32)
"""Value of each code."""


def encode(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Codes of values in [0, 1]; below half the smallest value it is 0."""
    wide = np.asarray(values, np.float64)
    codes = np.zeros(wide.shape, np.uint8)
    kept = wide >= MIN_VALUE / 2
    steps = np.log(np.maximum(wide[kept], MIN_VALUE)) / np.log(MIN_VALUE) * STEPS
    codes[kept] = np.clip(255 - np.round(steps), 1, 255)
    return codes


def decode(codes: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Values of rows laid end to end, each renormalised to sum to 1 (all zeros stay zeros)."""
    values = TABLE[codes]
    lengths = np.diff(starts)
    ends = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    sums = ends[starts[1:]] - ends[starts[:-1]]
    scale = np.divide(1.0, sums, out=np.ones_like(sums), where=sums > 0)
    return np.asarray(values * np.repeat(scale, lengths), np.float32)

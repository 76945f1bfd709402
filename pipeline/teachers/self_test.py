"""What a loaded teacher compares with the stock model of transformers, before its first output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cache_schema.errors import RunError

# float32 sums in another order differ by about 1e-6 of scale; a wrong mask or layer by far more.
TOLERANCE = 1e-5
ADVICE = (
    "This version of transformers may compute the model differently: install the tested one with "
    "pip install 'aftersound[pipeline]'"
)


def noise_clips(samples: Sequence[int]) -> list[NDArray[np.float32]]:
    """Make clips of noise of these lengths, the same ones every time."""
    noise = np.random.Generator(np.random.Philox(0))
    return [(0.1 * noise.standard_normal(length)).astype(np.float32) for length in samples]


def check_equal(teacher_id: str, what: str, ours: Tensor, stock: Tensor) -> None:
    """Check that an output is the stock model's.

    Raises
    ------
    RunError
        Kind ``"self-test"`` if they differ by more than 1e-5 of the stock model's scale.
    """
    difference = (ours - stock).abs()
    at = int(difference.argmax())
    allowed = TOLERANCE * float(stock.abs().max())
    if not float(difference.flatten()[at]) <= allowed:  # also catches NaN
        raise RunError(
            f"teacher {teacher_id} failed its self-test: {what} are "
            f"{float(ours.flatten()[at]):.7g} here and {float(stock.flatten()[at]):.7g} in the "
            f"plain eager model, {allowed:.1g} apart allowed. {ADVICE}",
            kind="self-test",
        )

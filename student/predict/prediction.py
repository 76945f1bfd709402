"""What a student predicts for one waveform. Shape suffixes: T frames, C classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a student predicts for one waveform.

    Attributes
    ----------
    classes : tuple of str
        Names of the C classes.
    logits_C : float32, shape (C,)
        Before softmax or sigmoid.
    probabilities_C : float64, shape (C,)
        Softmax over the classes of a single-label task, a sigmoid for each of a multi-label one.
    times_T : float64, shape (T,)
        Centres of the student's frames in seconds.
    attention_T : float64, shape (T,)
        Where in time it attends; sums to 1. No frames where an exported file does not give it.
    """

    classes: tuple[str, ...]
    logits_C: NDArray[np.float32]
    probabilities_C: NDArray[np.float64]
    times_T: NDArray[np.float64]
    attention_T: NDArray[np.float64]

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.classes[int(self.logits_C.argmax())]

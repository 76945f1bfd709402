"""When a class is detected in a stream. Shape suffixes: S samples, C classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from student.predict.cached_samples import as_cached
from student.predict.predictor import FrameStepper, Predictor
from student.predict.windows import cut


@dataclass(frozen=True, slots=True)
class Detection:
    """A class whose score has risen to the threshold.

    Attributes
    ----------
    start_s : float
        Where the frame or window begins in which it did.
    label : str
        The class.
    score : float
        Its score there.
    """

    start_s: float
    label: str
    score: float


@dataclass(slots=True)
class Detector:
    """Detects when a score rises to a threshold.

    A class is reported again once its score has been below the threshold and the refractory time is
    over. Of a single-label task only the likeliest class counts.
    """

    classes: tuple[str, ...]
    task: str
    threshold: float
    refractory_s: float
    _above: set[int] = field(default_factory=set)
    _last_s: dict[int, float] = field(default_factory=dict)

    def update(self, start_s: float, scores_C: NDArray[np.float64]) -> list[Detection]:
        """Take the scores of the next frame or window; gives what begins with it."""
        candidates = [int(scores_C.argmax())] if self.task == "single" else range(len(scores_C))
        above = {number for number in candidates if scores_C[number] >= self.threshold}
        found = [
            Detection(start_s, self.classes[number], float(scores_C[number]))
            for number in sorted(above - self._above)
            if start_s >= self._last_s.get(number, -np.inf) + self.refractory_s
        ]
        begun = {self.classes.index(one.label): start_s for one in found}
        self._last_s |= begun
        # What rose too early is none yet: it begins once the time is over, if it is still above.
        self._above = self._above & above | begun.keys()
        return found


def frame_scores(
    stepper: FrameStepper, blocks: Iterator[NDArray[np.float32]]
) -> Iterator[tuple[float, NDArray[np.float64]]]:
    """Yield where each frame begins and the scores after it."""
    front_end = stepper.front_end
    window, hop = front_end.window_samples, front_end.hop_samples
    for frame in cut(blocks, window, hop, to_the_end=False):
        samples_S = as_cached(frame.samples_S, limited=False)
        yield frame.first / front_end.sample_rate_hz, stepper.step(samples_S)


def window_scores(
    predictor: Predictor, blocks: Iterator[NDArray[np.float32]], window: int, hop: int
) -> Iterator[tuple[float, NDArray[np.float64]]]:
    """Yield where each window begins and the scores of it."""
    for frame in cut(blocks, window, hop):
        samples_S = as_cached(frame.samples_S, limited=False)
        yield (
            frame.first / predictor.sample_rate_hz,
            predictor.predict(samples_S).probabilities_C,
        )

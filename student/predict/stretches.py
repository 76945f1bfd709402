"""Predictions for recordings, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cache_schema.errors import UsageError
from student.predict.cached_samples import as_cached
from student.predict.contract import MAX_LENGTH_SAMPLES
from student.predict.prediction import Prediction
from student.predict.predictor import Predictor
from student.predict.recordings import read_recording
from student.predict.windows import cut

# A student without a length of its own takes a whole recording up to here.
WHOLE_S = 30.0
LIKELY = 0.5
"""From here on a class of a multi-label task is taken as present."""


@dataclass(frozen=True, slots=True)
class StretchPrediction:
    """What a student predicts for a stretch of a recording.

    Attributes
    ----------
    recording : str
        Its name as given.
    start_s, end_s : float
        The stretch, without the silence that a short recording is filled up with.
    samples : int
        Its length.
    prediction : Prediction
        Its times count from `start_s`.
    """

    recording: str
    start_s: float
    end_s: float
    samples: int
    prediction: Prediction

    def ranked(self, most: int | None = None) -> list[tuple[str, float]]:
        """Classes and their scores, the likeliest first."""
        scores_C = self.prediction.probabilities_C
        order = sorted(range(len(scores_C)), key=lambda number: -scores_C[number])
        return [(self.prediction.classes[n], float(scores_C[n])) for n in order[:most]]


@dataclass(frozen=True, slots=True)
class Stretches:
    """How recordings are cut, in samples."""

    window: int
    hop: int

    @classmethod
    def of(cls, predictor: Predictor, window_s: float | None, overlap: float) -> Stretches:
        """Take a student's own length, the requested one, that of its training clips, or `WHOLE_S`.

        Raises
        ------
        UsageError
            If it takes one length and another is requested.
        """
        window = window_samples(predictor, window_s, WHOLE_S)
        return cls(window, max(1, round(window * (1 - overlap))))


def window_samples(predictor: Predictor, window_s: float | None, otherwise_s: float) -> int:
    """Samples of a window; raises as `Stretches.of`."""
    rate_hz, own = predictor.sample_rate_hz, predictor.length_samples
    if window_s is None:
        usual = predictor.usual_samples or round(otherwise_s * rate_hz)
        return own or max(1, min(usual, MAX_LENGTH_SAMPLES))
    window = max(1, round(window_s * rate_hz))
    if own is not None and own != window:
        raise UsageError(
            f"--window-s {window_s:g}: this student takes {own / rate_hz:g} s, no other length. Leave "
            "--window-s out, or export the run for that length: export-student RUN --to onnx --out DIR "
            f"--length-s {window_s:g}",
            kind="options",
        )
    return window


def predict_stretches(
    predictor: Predictor, recording: Path, stretches: Stretches
) -> Iterator[StretchPrediction]:
    """Predict a recording by stretches; raises as :func:`student.predict.recordings.read_recording`."""
    rate_hz = predictor.sample_rate_hz
    for window in cut(read_recording(recording, rate_hz), stretches.window, stretches.hop):
        yield StretchPrediction(
            recording=str(recording),
            start_s=window.first / rate_hz,
            end_s=(window.first + len(window.samples_S)) / rate_hz,
            samples=len(window.samples_S),
            prediction=predictor.predict(as_cached(window.samples_S)),
        )

"""An exported student as a function of a waveform; no torch.

The features come from the front end's NumPy reference, so that a file of features gets what the
run's student gets. Shape suffixes: S samples, T frames, C classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cache_schema.front_ends import FrontEnd, front_end_features
from student.predict.contract import ATTENTION, LOGITS, NEXT_STATE, STATE, WAVEFORM
from student.predict.onnx_session import OnnxSession
from student.predict.prediction import Prediction

FloatArray = NDArray[np.float32]


class ExportedStudent:
    """See :class:`student.predict.predictor.Predictor`.

    Parameters
    ----------
    session : OnnxSession
        The file.
    """

    def __init__(self, session: OnnxSession) -> None:
        contract = session.contract
        self._session, self._contract = session, contract
        self.classes = tuple(contract.classes)
        self.task = contract.task
        self.sample_rate_hz = contract.sample_rate_hz
        self.length_samples = contract.length_samples
        self.usual_samples = contract.length_samples
        self.has_attention = contract.has_attention
        self._front_end = contract.front_end.front_end()

    def predict(self, waveform_S: NDArray[np.floating]) -> Prediction:
        """Predict a waveform; a shorter one than the file takes is followed by silence."""
        missing = max(0, self._contract.shortest_samples - len(waveform_S))
        padded_S = np.pad(waveform_S, (0, missing))
        if self._contract.form == "step":
            return self._prediction(self._after_all_frames(padded_S), np.zeros(0))
        outputs = self._session.run({self._contract.takes: self._input(padded_S)[None]})
        attention_T = outputs[ATTENTION][0] if self.has_attention else np.zeros(0)
        return self._prediction(outputs[LOGITS][0], attention_T)

    def stepper(self) -> ExportedStepper | None:
        """Give one at the start of a stream; None where the file takes whole clips."""
        return ExportedStepper(self._session) if self._contract.form == "step" else None

    def _input(self, waveform_S: NDArray[np.floating]) -> FloatArray:
        if self._contract.takes == WAVEFORM:
            return waveform_S.astype(np.float32)
        return front_end_features(waveform_S, self._front_end)

    def _after_all_frames(self, waveform_S: NDArray[np.floating]) -> FloatArray:
        stepper = ExportedStepper(self._session)
        window, hop = self._front_end.window_samples, self._front_end.hop_samples
        for first in range(0, len(waveform_S) - window + 1, hop):
            stepper.step(waveform_S[first : first + window])
        return stepper.logits_C

    def _prediction(self, logits_C: FloatArray, attention_T: NDArray[np.floating]) -> Prediction:
        first_s = self._contract.first_frame_s
        first_s = self._front_end.first_frame_s if first_s is None else first_s
        frame_T = np.arange(len(attention_T), dtype=np.float64)
        return Prediction(
            classes=self.classes,
            logits_C=logits_C,
            probabilities_C=probabilities(logits_C, self.task),
            times_T=first_s + self._contract.hop_s * frame_T,
            attention_T=attention_T.astype(np.float64),
        )


class ExportedStepper:
    """See :class:`student.predict.predictor.FrameStepper`.

    Attributes
    ----------
    logits_C : float32 array, shape (C,)
        After the last frame.
    """

    def __init__(self, session: OnnxSession) -> None:
        contract = session.contract
        self.front_end: FrontEnd = contract.front_end.front_end()
        self.logits_C: FloatArray = np.zeros(len(contract.classes), np.float32)
        self._session, self._takes, self._task = session, contract.takes, contract.task
        self._state = {
            spec.name: np.zeros([size or 1 for size in spec.shape], np.float32)
            for spec in contract.inputs[1:]
        }

    def step(self, window_S: NDArray[np.floating]) -> NDArray[np.float64]:
        """Predict the stream so far."""
        if self._takes == WAVEFORM:
            value = np.zeros((1, self.front_end.window_samples), np.float32)
            value[0, : len(window_S)] = window_S
        else:
            value = front_end_features(window_S, self.front_end)
        outputs = self._session.run({self._takes: value, **self._state})
        self._state = {
            name: outputs[f"{NEXT_STATE}{name.removeprefix(STATE)}"] for name in self._state
        }
        self.logits_C = outputs[LOGITS][0]
        return probabilities(self.logits_C, self._task)


def probabilities(logits_C: FloatArray, task: str) -> NDArray[np.float64]:
    """Softmax over the classes of a single-label task, a sigmoid of each of a multi-label one.

    >>> probabilities(np.array([0.0, 0.0], np.float32), "single").tolist()
    [0.5, 0.5]
    """
    exact_C = logits_C.astype(np.float64)
    if task == "single":
        powers_C = np.exp(exact_C - exact_C.max())
        shares_C: NDArray[np.float64] = powers_C / powers_C.sum()
        return shares_C
    halves_C: NDArray[np.float64] = 0.5 + 0.5 * np.tanh(exact_C / 2)  # no overflow
    return halves_C

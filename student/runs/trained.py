"""A trained student as a function of a waveform: for notebooks and scripts.

Shape suffixes: S samples, T frames of the student's context, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from cache_schema.errors import UsageError
from cache_schema.front_ends import FRONT_ENDS, front_end_features
from student.models.interface import Student
from student.predict.prediction import Prediction
from student.runs import checkpoint
from student.runs.predict import read_config

FULL_SCALE = 2**15


@dataclass(frozen=True, slots=True)
class TrainedStudent:
    """A run's student with its best weights. See `load_student`."""

    model: Student
    classes: tuple[str, ...]
    task: str

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms that it takes."""
        return FRONT_ENDS[self.model.front_end].sample_rate_hz

    @torch.no_grad()
    def predict(self, waveform_S: ArrayLike, sample_rate_hz: int) -> Prediction:
        """Predict the classes of a mono waveform.

        Parameters
        ----------
        waveform_S : array of shape (S,)
            Floats in [-1, 1], or int16.
        sample_rate_hz : int
            Its rate; the student does not resample.

        Raises
        ------
        UsageError
            If it is of another rate, not mono, empty, of another type, or not finite.
        """
        samples_S = self._checked(np.asarray(waveform_S), sample_rate_hz)
        features_TM = front_end_features(samples_S, FRONT_ENDS[self.model.front_end])
        output = self.model(torch.from_numpy(features_TM)[None], None)
        logits_C = output.logits_BC[0].double()
        single = self.task == "single"
        probabilities_C = logits_C.softmax(0) if single else logits_C.sigmoid()
        attention_T = self.model.looks_at(output)[0].double().numpy()
        first_s = float(output.first_frame_s_B[0])
        return Prediction(
            classes=self.classes,
            logits_C=output.logits_BC[0].numpy(),
            probabilities_C=probabilities_C.numpy(),
            times_T=first_s + output.hop_s * np.arange(len(attention_T)),
            attention_T=attention_T,
        )

    def _checked(self, waveform_S: NDArray[np.generic], rate_hz: int) -> NDArray[np.float64]:
        wanted_hz = self.sample_rate_hz
        if rate_hz != wanted_hz:
            raise UsageError(
                f"the waveform has {rate_hz} Hz, the student takes {wanted_hz} Hz. Resample it first, "
                f"for example soxr.resample(waveform, {rate_hz}, {wanted_hz})",
                kind="waveform",
            )
        integer = waveform_S.dtype == np.int16
        if (
            waveform_S.ndim != 1
            or not len(waveform_S)
            or not (integer or waveform_S.dtype.kind == "f")
        ):
            raise UsageError(
                f"expected a mono waveform of shape (samples,), float or int16, got shape "
                f"{waveform_S.shape} of {waveform_S.dtype}; waveform.mean(axis) makes channels one",
                kind="waveform",
            )
        samples_S = waveform_S.astype(np.float64) / (FULL_SCALE if integer else 1)
        if not np.isfinite(samples_S).all():
            raise UsageError("the waveform has samples that are not finite", kind="waveform")
        return samples_S


def load_student(run: str | Path) -> TrainedStudent:
    """Load the best weights of a run of ``train-student``, on the CPU.

    Raises
    ------
    RunError
        If the folder holds no run, or its settings or weights are damaged.
    """
    config = read_config(Path(run))
    model = checkpoint.load_student(Path(run), config)
    return TrainedStudent(model, tuple(config["classes"]), config["task"])

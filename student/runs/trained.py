"""A trained student as a function of a waveform: for notebooks and scripts.

Shape suffixes: S samples, T frames of the student's context, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from cache_schema.errors import UsageError
from cache_schema.front_ends import FRONT_ENDS, front_end_features
from cache_schema.signal_names import FULL_SCALE
from student.models.interface import Student
from student.predict.cached_samples import as_cached
from student.predict.prediction import Prediction
from student.runs import checkpoint
from student.runs.predict import read_config

MAX_PEAK = 32.0
"""What floats of a sound may reach; larger ones are integers that were not divided."""


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
            Floats in [-1, 1], or int16. Floats become what a cache would hold of them: rounded to 16
            bits, whose noise a student has learned with, and louder ones made quieter as a whole.
        sample_rate_hz : int
            Its rate; the student does not resample.

        Raises
        ------
        UsageError
            If it is of another rate, not mono, empty, of another type, not finite, or integers that
            were made floats without being divided.
        """
        samples_S = self._checked(np.asarray(waveform_S), sample_rate_hz)
        features_TM = front_end_features(samples_S, FRONT_ENDS[self.model.front_end])
        output = self.model(torch.from_numpy(features_TM)[None], None)
        logits_C = output.logits_BC[0].double()
        single = self.task == "single"
        probabilities_C = logits_C.softmax(0) if single else logits_C.sigmoid()
        attention_T = self.model.frame_attribution(output)[0].double().numpy()
        first_s = float(output.first_frame_s_B[0])
        return Prediction(
            classes=self.classes,
            logits_C=output.logits_BC[0].numpy(),
            probabilities_C=probabilities_C.numpy(),
            times_T=first_s + output.hop_s * np.arange(len(attention_T)),
            attention_T=attention_T,
        )

    def _checked(self, waveform_S: NDArray[np.generic], rate_hz: int) -> NDArray[np.float64]:
        _check_waveform(waveform_S, rate_hz, self.sample_rate_hz)
        integer = waveform_S.dtype == np.int16
        samples_S = waveform_S.astype(np.float64) / (FULL_SCALE if integer else 1)
        if not np.isfinite(samples_S).all():
            raise UsageError("the waveform has samples that are not finite", kind="waveform")
        if (peak := float(np.abs(samples_S).max())) > MAX_PEAK:
            raise UsageError(
                f"the waveform's largest sample is {peak:g}, expected floats in [-1, 1]; if they were "
                f"integers of 16 bits, give waveform / {FULL_SCALE}",
                kind="waveform",
            )
        return as_cached(samples_S)


def _check_waveform(waveform: NDArray[np.generic], rate_hz: object, wanted_hz: int) -> None:
    """Reject what is no waveform of the student's rate, with what makes one of it."""
    if not isinstance(rate_hz, int | float | np.number) or not rate_hz > 0:
        raise UsageError(
            f"sample_rate_hz is a number above 0, {wanted_hz} for this student; got {rate_hz!r}",
            kind="waveform",
        )
    if rate_hz != wanted_hz:
        raise UsageError(
            f"the waveform has {rate_hz} Hz, the student takes {wanted_hz} Hz. Resample it first, "
            f"for example soxr.resample(waveform, {rate_hz}, {wanted_hz})",
            kind="waveform",
        )
    mono, kind = waveform.ndim == 1 and waveform.size > 0, waveform.dtype.kind
    if mono and (kind == "f" or waveform.dtype == np.int16):
        return
    ways = []
    if kind in "iu" and waveform.dtype != np.int16:
        ways.append(f"integers become floats in [-1, 1] by {_divided(waveform.dtype)}")
    if waveform.ndim == 2 and waveform.size:
        floats = f"({_divided(waveform.dtype)})" if kind in "iu" else "waveform"
        axis = int(np.argmin(waveform.shape))
        ways.append(f"{floats}.mean({axis}) makes the {waveform.shape[axis]} channels one")
    raise UsageError(
        f"expected a mono waveform of shape (samples,), float or int16, got shape {waveform.shape} of "
        f"{waveform.dtype}{'; ' if ways else ''}{'; '.join(ways)}",
        kind="waveform",
    )


def _divided(dtype: np.dtype[Any]) -> str:
    """How integer samples become floats; unsigned ones have silence in their middle.

    >>> _divided(np.dtype("uint8")), _divided(np.dtype("int32"))
    ('(waveform - 128.0) / 128', 'waveform / 2147483648')
    """
    half = 2 ** (8 * dtype.itemsize - 1)
    return f"(waveform - {half}.0) / {half}" if dtype.kind == "u" else f"waveform / {half}"


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

"""A run folder's student as a function of a waveform, by torch.

Shape suffixes: B clips, S samples, M features, C classes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema.errors import RunError
from cache_schema.front_ends import FRONT_ENDS, FrontEnd, front_end_features
from student.models.interface import Student
from student.predict.exported import probabilities
from student.predict.prediction import Prediction
from student.runs.checkpoint import read_json
from student.runs.run_result import CLIP_S, RESULT, result_problems
from student.runs.trained import TrainedStudent, load_student
from student.training.determinism import prepare_torch


class RunStudent:
    """See :class:`student.predict.predictor.Predictor`: it takes clips of any length."""

    length_samples = None
    has_attention = True

    def __init__(self, trained: TrainedStudent, clip_s: float | None) -> None:
        self._trained = trained
        self.classes, self.task = trained.classes, trained.task
        self.sample_rate_hz = trained.sample_rate_hz
        self.usual_samples = None if clip_s is None else round(clip_s * trained.sample_rate_hz)

    def predict(self, waveform_S: NDArray[np.floating]) -> Prediction:
        """Predict a waveform.

        Raises
        ------
        RunError
            If its weights give scores that are not finite.
        """
        found = self._trained.predict(waveform_S, self.sample_rate_hz)
        _check_finite(found.logits_C)
        return found

    def stepper(self) -> RunStepper | None:
        """Give one at the start of a stream; None for a student without steps."""
        model = self._trained.model
        return None if model.why_not_step else RunStepper(model, self.task)


class RunStepper:
    """See :class:`student.predict.predictor.FrameStepper`."""

    def __init__(self, model: Student, task: str) -> None:
        self.front_end: FrontEnd = FRONT_ENDS[model.front_end]
        self._model, self._task = model, task
        self._state = model.initial_state(1)

    @torch.no_grad()
    def step(self, window_S: NDArray[np.floating]) -> NDArray[np.float64]:
        """Predict the stream so far; raises as :meth:`RunStudent.predict`."""
        frame_BM = torch.from_numpy(front_end_features(window_S, self.front_end))
        logits_BC, *state = self._model.step(frame_BM, *self._state)
        self._state = tuple(state)
        logits_C = logits_BC[0].numpy()
        _check_finite(logits_C)
        return probabilities(logits_C, self._task)


def _check_finite(logits_C: NDArray[np.float32]) -> None:
    if not np.isfinite(logits_C).all():
        raise RunError(
            "the run's weights give scores that are not finite. Train it again with train-student",
            kind="weights",
        )


def open_run(run: Path) -> RunStudent:
    """Open a run of ``train-student``; raises as :func:`student.runs.trained.load_student`."""
    prepare_torch(1)
    return RunStudent(load_student(run), _clip_s(run))


def _clip_s(run: Path) -> float | None:
    """Length of the clips that a run learned from, where its result has one."""
    found = read_json(run / RESULT)
    return None if result_problems(found) else found.get(CLIP_S)

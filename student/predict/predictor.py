"""What predicts a waveform: a run folder's student by torch, an exported one's file by onnxruntime.

Shape suffixes: S samples, C classes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import RunError, UsageError
from cache_schema.folder_kinds import instead_of_run, kind_of
from cache_schema.front_ends import FrontEnd
from student.predict.prediction import Prediction

ONNX_FILE = "model.onnx"
RUN_FILE = "config.json"


class FrameStepper(Protocol):
    """A student that predicts frame by frame and keeps the state of its stream."""

    @property
    def front_end(self) -> FrontEnd:
        """The window of a frame, and the hop to the next one's."""
        ...

    def step(self, window_S: NDArray[np.floating]) -> NDArray[np.float64]:
        """Give the probabilities, shape (C,), after one more frame's window of samples."""
        ...


class Predictor(Protocol):
    """A student as a function of a waveform."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the C classes."""
        ...

    @property
    def task(self) -> str:
        """``"single"``: one class a recording; ``"multi"``: any number of them."""
        ...

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms that it takes."""
        ...

    @property
    def length_samples(self) -> int | None:
        """The one length of its clips; None for any. Shorter ones are filled up with silence."""
        ...

    @property
    def usual_samples(self) -> int | None:
        """The length of nearly all clips that it learned from; None where that is not known."""
        ...

    @property
    def has_attention(self) -> bool:
        """Whether its predictions have an attention over frames."""
        ...

    def predict(self, waveform_S: NDArray[np.floating]) -> Prediction:
        """Predict a mono waveform at its rate, in [-1, 1], no longer than its length."""
        ...

    def stepper(self) -> FrameStepper | None:
        """Give one at the start of a stream; None for a student that needs the whole clip."""
        ...


def open_predictor(model: Path) -> Predictor:
    """Open a run folder, an exported ONNX file, or the folder that holds one.

    A link that is named is followed, a link in a folder is not.

    Raises
    ------
    UsageError
        If what it needs is not installed.
    RunError
        If it is none of them, or damaged.
    """
    if not model.is_dir():
        return _open_onnx(model.resolve() if model.is_symlink() else model)  # the user named it
    other = "" if kind_of(model) == "export" else instead_of_run(model)
    if other:
        raise RunError(other, kind="missing")
    if (model / RUN_FILE).is_file():
        return _open_run(model)
    if os.path.lexists(model / ONNX_FILE):
        return _open_onnx(model / ONNX_FILE)
    from student.predict.contract import EXPORT_A_RUN  # its library is slow to import

    raise RunError(
        f"{model} is neither a run ({RUN_FILE}) nor an exported student in ONNX ({ONNX_FILE}). Export a "
        f"run: {EXPORT_A_RUN}",
        kind="missing",
    )


def _open_onnx(path: Path) -> Predictor:
    from student.predict.exported import ExportedStudent
    from student.predict.onnx_session import open_onnx

    return ExportedStudent(open_onnx(path))


def _open_run(run: Path) -> Predictor:
    try:
        import torch  # noqa: F401 - only to report where it is missing
    except ImportError:
        raise UsageError(
            f"{run} is a run folder, which needs torch: pip install 'aftersound[student]'. An exported "
            "ONNX file does without it",
            kind="extra",
        ) from None
    from student.predict.run_folder import open_run

    return open_run(run)

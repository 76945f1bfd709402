"""The reader: students, losses and the trainer that streams a cache.

For notebooks, a run of ``train-student`` as a function of a waveform:

>>> import numpy as np
>>> import student
>>> trained = student.load_student("runs/distilled")
>>> trained.classes, trained.sample_rate_hz
(('no', 'yes'), 16000)
>>> prediction = trained.predict(np.zeros(16_000, np.float32), sample_rate_hz=16_000)
>>> prediction.probabilities_C.shape, prediction.label in trained.classes
((2,), True)
>>> prediction.times_T.shape == prediction.attention_T.shape
True

A name of ``__all__`` is imported when it is used: ``import student`` does not import torch.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from student.predict.prediction import Prediction
    from student.runs.trained import TrainedStudent, load_student

__all__ = ["Prediction", "TrainedStudent", "load_student"]

# These libraries report to their makers unless that is switched off before they are imported:
# onnxruntime keeps a file of what it was given below the home folder, and sends it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from student.runs import trained

    return getattr(trained, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

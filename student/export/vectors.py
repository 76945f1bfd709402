"""Test vectors: inputs and the student's own outputs, and the front end's tables, as plain arrays.

Shape suffixes: S samples, T frames, M features, C classes.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache_schema.front_ends import FrontEnd, dct_matrix, hann_window, mel_matrix
from cache_schema.store.files import write_atomic
from student.export.parity import Trial

VECTORS = "test_vectors.npz"
MAX_VECTORS = 8


def write_vectors(path: Path, trial: Trial, front_end: FrontEnd) -> int:
    """Write the first clips of a trial with the student's outputs; gives how many.

    ``front_end_window``, ``front_end_mel`` and ``front_end_dct`` are the tables of the front end; of
    clip I there are ``waveform_I`` (where there is one), ``features_I`` and ``logits_I``, of a step
    those after its last frame; and ``attention_I`` where the student has one.
    """
    arrays: dict[str, NDArray[np.floating]] = {
        "front_end_window": hann_window(front_end),
        "front_end_mel": mel_matrix(front_end),
    }
    if front_end.coefficients is not None:
        arrays["front_end_dct"] = dct_matrix(front_end)
    pairs = list(zip(trial.clips.clips, trial.expected, strict=True))[:MAX_VECTORS]
    for number, (clip, answer) in enumerate(pairs):
        if clip.waveform_S is not None:
            arrays[f"waveform_{number}"] = clip.waveform_S
        arrays[f"features_{number}"] = clip.features_TM
        arrays |= {f"{name}_{number}": value[0] for name, value in answer.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())
    return len(pairs)

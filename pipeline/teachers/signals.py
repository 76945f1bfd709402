"""What all teachers share about signals: checking a request and pooling to a lower frame rate.

Shape suffixes: T frames, P pooled frames, D features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import RunError
from cache_schema.plugins import unknown_name
from pipeline.teachers.interface import Teacher


def check_request(teacher: Teacher, samples: Sequence[int], signals: Sequence[str]) -> None:
    """Reject signals that a teacher cannot give and lengths that it cannot take.

    Raises
    ------
    UsageError
        If a signal is unknown to the teacher.
    RunError
        If a clip is too short or too long, or lengths differ where they must be equal.
    """
    for name in signals:
        if name not in teacher.signals:
            raise unknown_name(name, teacher.signals, f"signal of teacher {teacher.family}")
    longest = teacher.max_samples or max(samples, default=0)
    wrong = [n for n in samples if not teacher.min_samples <= n <= longest]
    if wrong:
        allowed = f"{teacher.min_samples} to {teacher.max_samples or 'any number of'}"
        raise RunError(
            f"teacher {teacher.family} takes {allowed} samples at {teacher.sample_rate_hz} Hz, "
            f"got {wrong}; crop or leave out these clips",
            kind="length",
        )
    if teacher.batching == "exact" and len(set(samples)) > 1:
        raise RunError(
            f"teacher {teacher.family} needs clips of equal length in a batch, got "
            f"{sorted(set(samples))} samples; padding would change its outputs",
            kind="length",
        )


def pooled_length(frames: int, factor: int) -> int:
    """Give the number of pooled frames; the last one may cover fewer than `factor` frames."""
    return -(-frames // factor)


def pool_frames(values_TD: NDArray[np.floating], factor: int) -> NDArray[np.float64]:
    """Average each `factor` consecutive frames, the last group over what is left: (P, D)."""
    starts = np.arange(0, len(values_TD), factor)
    counts = np.diff(np.append(starts, len(values_TD)))
    sums = np.add.reduceat(values_TD.astype(np.float64), starts, axis=0)
    pooled: NDArray[np.float64] = sums / counts[:, None]
    return pooled


def pool_map(map_TT: NDArray[np.floating], factor: int) -> NDArray[np.float64]:
    """Pool an attention map (queries, keys) to (P, P): queries averaged, keys summed.

    A row shows where one query attends, so rows of the result still sum to 1.
    """
    starts = np.arange(0, map_TT.shape[1], factor)
    keys_summed = np.add.reduceat(map_TT.astype(np.float64), starts, axis=1)
    return pool_frames(keys_summed, factor)

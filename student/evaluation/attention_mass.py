"""One number for where models attend: the share of attention inside the clip itself.

It concerns views that surround the clip with more, as a keyword somewhere in noise. A model that
attends uniformly has the clip's share of the time there.

Shape suffixes: B rows, T frames.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cache_schema.reader import Cache
from cache_schema.signal_names import VIEW_DRAWS
from cache_schema.view_recipe import ROUNDING_S
from student.evaluation.attention_curves import teacher_signal
from student.models.interface import Student
from student.runs.predict import EVALUATION_BATCH, read_config, student_for
from student.stream.batch import Batch
from student.stream.stream import Stream
from student.stream.unit_loader import UnitLoader


def attention_mass(run: Path, cache: Cache, split: str) -> dict[str, Any] | None:
    """Measure how much of their attention a run's student and its teacher spend on the clip.

    The student's attention is what its `frame_attribution` gives, the teacher's the cached rollout;
    means over the rows of view 0 in which the clip is a part, all of them over the same rows.

    Parameters
    ----------
    run : Path
        Folder of the run.
    cache : Cache
        An open cache.
    split : str
        One of its splits.

    Returns
    -------
    dict or None
        ``"student"``, ``"teacher"`` (None where its attention is not cached), ``"chance"`` (the clip's
        share of the time), each from 0 to 1, and ``"clips"``, how many rows that was. None where the
        cache keeps no places, or each clip fills its row.

    Raises
    ------
    UsageError, RunError
        As :func:`student.runs.predict.run_predictions`.
    """
    config = read_config(run)
    student = student_for(run, config, cache, split)
    if VIEW_DRAWS not in cache.signals:
        return None
    teacher = teacher_signal(config)
    teacher_signals = tuple(name for name in (teacher,) if name in cache.signals)
    loader = UnitLoader(cache, student.front_end, ())
    # The signal that features come from shows how long a row is.
    signals = (loader.source, VIEW_DRAWS, *teacher_signals)
    loader = UnitLoader(cache, student.front_end, signals, budget_bytes=0)
    stream = Stream(loader, split, batch_size=EVALUATION_BATCH, seed=0)
    found: dict[str, list[Tensor]] = {}
    with torch.no_grad(), closing(stream.in_order()) as batches:
        for batch in batches:
            for name, value_B in _batch_shares(student, loader, batch, teacher_signals).items():
                found.setdefault(name, []).append(value_B)
    shares = {name: torch.cat(values) for name, values in found.items()}
    clips = len(shares.get("chance", ()))
    if not clips:
        return None
    means = {name: float(value_N.mean()) for name, value_N in shares.items()}
    return {"teacher": None, **means, "clips": clips}


def _batch_shares(
    student: Student, loader: UnitLoader, batch: Batch, teacher_signals: tuple[str, ...]
) -> dict[str, Tensor]:
    """Shares of those rows of a batch whose clip is a part of them."""
    place_B2 = batch.signals[VIEW_DRAWS][:, :2].double()
    source = loader.cache.signals[loader.source]
    hop_s, first_s = source.hop_s or 0.0, source.first_frame_s or 0.0
    # Frames of features have their centres inside the row, as far from both ends; samples fill it.
    past_last_s = 2 * first_s - hop_s if first_s else 0.0
    row_s_B = batch.signal_lengths[loader.source] * hop_s + past_last_s
    clip_s_B = place_B2[:, 1] - place_B2[:, 0]
    part_B = (clip_s_B > 0) & (clip_s_B < row_s_B - ROUNDING_S)
    output = student(batch.features_BTM, batch.ragged_lengths)
    attribution_BT = student.frame_attribution(output)
    found = {
        "student": mass_inside(attribution_BT, output.first_frame_s_B, output.hop_s, place_B2),
        "chance": clip_s_B / row_s_B,
    }
    for name in teacher_signals:
        spec = loader.cache.signals[name]
        first_s_B = torch.full_like(row_s_B, spec.first_frame_s or 0.0)
        found["teacher"] = mass_inside(batch.signals[name], first_s_B, spec.hop_s or 0.0, place_B2)
    return {name: value_B[part_B] for name, value_B in found.items()}


def mass_inside(weights_BT: Tensor, first_s_B: Tensor, hop_s: float, place_B2: Tensor) -> Tensor:
    """Share of attention that falls into a stretch of time, float64 (B,).

    Frame t stands for the time ``first_s + t * hop_s`` and half a hop to either side; one that lies
    across a border counts by the part of it that lies inside.

    Parameters
    ----------
    weights_BT : Tensor
        Attention, not negative, 0 on padding.
    first_s_B : Tensor
        Centre of frame 0 in seconds.
    hop_s : float
        Seconds from frame to frame.
    place_B2 : Tensor
        Start and end of the stretch in seconds.

    Examples
    --------
    Frames of 1 s from 0 s; the stretch has half of frame 0, all of frame 1 and a quarter of frame 2.

    >>> weights, place = torch.tensor([[0.2, 0.4, 0.4]]), torch.tensor([[0.5, 2.25]])
    >>> round(mass_inside(weights, torch.tensor([0.5]), 1.0, place).item(), 4)
    0.6
    """
    weights_BT = weights_BT.double()
    frame_T = torch.arange(weights_BT.shape[1], dtype=torch.float64)
    begins_BT = first_s_B.double()[:, None] + (frame_T - 0.5) * hop_s
    ends_BT = begins_BT + hop_s
    start_B1, end_B1 = place_B2.double()[:, :1], place_B2.double()[:, 1:]
    inside_BT = torch.minimum(ends_BT, end_B1) - torch.maximum(begins_BT, start_B1)
    shares_BT = inside_BT.clamp_min(0) / hop_s
    return (weights_BT * shares_BT).sum(1) / weights_BT.sum(1)

"""Where in single clips the teacher and students attend, as curves to draw.

Shape suffixes: T frames, S samples.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema.errors import UsageError
from cache_schema.inspection.prediction_text import label_text, prediction_text
from cache_schema.reader import Cache, Unit
from cache_schema.signal_names import (
    LOGITS,
    TEMPORAL_ATTENTION,
    VIEW_DRAWS,
    WAVEFORM,
    qualified,
)
from cache_schema.text import shell_word
from cache_schema.view_recipe import place_within
from student.models.interface import Student
from student.runs.predict import read_config, student_for
from student.runs.settings import first_teacher
from student.stream.unit_loader import UnitLoader, collate

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class ClipAttention:
    """A clip and where each model attends in it.

    Attributes
    ----------
    clip_id : str
        The clip.
    samples_S : int16, shape (S,)
        Its waveform.
    curves : dict
        Name to (frame times in seconds, weights that sum to 1).
    place_s : (float, float) or None
        Where the clip itself lies, if a view surrounds it with more.
    label : str
        Its classes, in words.
    answers : dict
        Name to what each model answers, the teacher's first.
    """

    clip_id: str
    samples_S: NDArray[np.int16]
    curves: dict[str, Curve]
    place_s: tuple[float, float] | None
    label: str
    answers: dict[str, str]

    @property
    def title(self) -> str:
        """Clip, label and answers, a line each."""
        answers = (f"{name}: {answer}" for name, answer in self.answers.items())
        return "\n".join([f"{self.clip_id}  ({self.label})", *answers])


def clip_curves(
    runs: Sequence[Path], cache: Cache, split: str, clip_ids: Sequence[str]
) -> list[ClipAttention]:
    """Find where the teacher and each run's student attend in some clips of a split.

    Raises
    ------
    UsageError
        If the split has no such clip.
    """
    configs = {run: read_config(run) for run in dict.fromkeys(run.resolve() for run in runs)}
    names = _disambiguated({run: curve_name(config) for run, config in configs.items()})
    students = {names[run]: student_for(run, c, cache, split) for run, c in configs.items()}
    teacher = first_teacher(next(iter(configs.values()))["distill"])
    loaders = {s.front_end: UnitLoader(cache, s.front_end, ()) for s in students.values()}
    return [
        _clip_attention(students, loaders, teacher, cache, split, clip_id) for clip_id in clip_ids
    ]


def teacher_signal(config: dict[str, Any]) -> str:
    """Name the attention of the teacher that a run learns from."""
    return qualified(TEMPORAL_ATTENTION, first_teacher(config["distill"]))


def curve_name(config: dict[str, Any]) -> str:
    """Word for a run in a picture."""
    return "distilled" if config["distill"] else "undistilled"


def _disambiguated(names: Mapping[Path, str]) -> dict[Path, str]:
    """Add to equal names what distinguishes the runs' folders."""
    if len(set(names.values())) == len(names):
        return dict(names)
    above = os.path.commonpath(list(names))
    return {run: f"{name} ({run.relative_to(above)})" for run, name in names.items()}


def _clip_attention(
    students: Mapping[str, Student],
    loaders: Mapping[str, UnitLoader],
    teacher: str,
    cache: Cache,
    split: str,
    clip_id: str,
) -> ClipAttention:
    unit, position = _find_clip(cache, split, clip_id)
    wanted = (qualified(TEMPORAL_ATTENTION, teacher), qualified(LOGITS, teacher), VIEW_DRAWS)
    read = cache.read_unit(unit, [WAVEFORM, *(name for name in wanted if name in cache.signals)])
    row = _row(read.clip, position, clip_id)
    stored = {name: values[row] for name, values in read.signals.items()}
    curves, answers = _of_teacher(cache, teacher, stored)
    for name, student in students.items():
        rows = loaders[student.front_end].load(unit)
        batch = collate([(rows, _row(rows.clips, position, clip_id))])
        with torch.no_grad():
            output = student(batch.features_BTM, batch.ragged_lengths)
            attribution_T = student.frame_attribution(output)[0].numpy().astype(np.float64)
        times_T = _times(float(output.first_frame_s_B[0]), output.hop_s, len(attribution_T))
        curves[name] = (times_T, attribution_T)
        answers[name] = prediction_text(output.logits_BC[0].numpy(), cache.classes, cache.task)
    samples_S = stored[WAVEFORM]
    row_s = len(samples_S) / cache.sample_rate_hz
    place_s = place_within(stored[VIEW_DRAWS], row_s) if VIEW_DRAWS in stored else None
    label = label_text(cache.clip_table.clips(position, position + 1)[0])
    return ClipAttention(clip_id, samples_S, curves, place_s, label, answers)


def _of_teacher(
    cache: Cache, teacher: str, stored: Mapping[str, NDArray[Any]]
) -> tuple[dict[str, Curve], dict[str, str]]:
    """Where a teacher attends and what it answers, each under its name where it is cached."""
    attention, logits = qualified(TEMPORAL_ATTENTION, teacher), qualified(LOGITS, teacher)
    curves, answers = dict[str, Curve](), dict[str, str]()
    if logits in stored:
        facts = cache.teachers[teacher]
        task = facts.get("task") or cache.task
        answers["teacher"] = prediction_text(stored[logits], facts["classes"], task)
    if attention in stored:
        spec, weights_T = cache.signals[attention], stored[attention].astype(np.float64)
        times_T = _times(spec.first_frame_s or 0.0, spec.hop_s or 0.0, len(weights_T))
        curves["teacher"] = (times_T, weights_T / weights_T.sum())
    return curves, answers


def _times(first_s: float, hop_s: float, frames: int) -> NDArray[np.float64]:
    return first_s + hop_s * np.arange(frames, dtype=np.float64)


def _find_clip(cache: Cache, split: str, clip_id: str) -> tuple[Unit, int]:
    """Find the unit of view 0 that holds a clip, and the clip's position in the clip table."""
    for unit in cache.units(split, 0):
        ids = cache.clip_ids(unit.first_clip, unit.first_clip + unit.rows)
        if clip_id in ids:
            return unit, unit.first_clip + ids.index(clip_id)
    raise UsageError(
        f"split {split!r} of {cache.root} has no clip {clip_id!r}. List them: inspect-cache "
        f"{shell_word(cache.root)} --clips --split {shell_word(split)}",
        kind="unknown",
    )


def _row(clips: NDArray[np.int64], position: int, clip_id: str) -> int:
    """Row of a clip among the usable ones of a unit, which differ with the signals read."""
    rows = np.flatnonzero(clips == position)
    if not len(rows):
        raise UsageError(f"clip {clip_id!r} is quarantined; choose a usable clip", kind="unknown")
    return int(rows[0])

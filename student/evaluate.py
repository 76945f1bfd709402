"""Score a trained student on a split of a cache, and look at where it listens.

Shape suffixes: N clips, C classes, T frames, S samples.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema.errors import RunError, UsageError, listed
from cache_schema.plugins import unknown_name
from cache_schema.reader import Cache
from student.checkpoint import load_student, read_json
from student.metrics import Score, measure
from student.metrics.interface import Answers
from student.models.interface import Student
from student.run_config import config_problems
from student.stream import Stream
from student.unit_rows import WAVEFORM, UnitLoader, collate

EVALUATION_BATCH = 64
TEMPORAL = "temporal_attention"

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def read_config(run: Path) -> dict[str, Any]:
    """Read a run's settings.

    Raises
    ------
    RunError
        If the folder holds no run, or one that an earlier version made.
    """
    config = read_json(run / "config.json")
    if config is None:
        raise RunError(
            f"{run} is not a run (no config.json). Make one: train-student CACHE --student NAME "
            f"--out {run}",
            kind="missing",
        )
    if problems := config_problems(config):
        raise RunError(
            f"{run}/config.json is damaged, or another version wrote it; {len(problems)} problem(s)\n"
            f"{listed(problems)}\nTrain it again with train-student.",
            kind="config",
        )
    return dict(config)


def evaluate_run(
    run: Path,
    config: dict[str, Any],
    cache: Cache,
    split: str,
    *,
    loader: UnitLoader | None = None,
    metric: str | None = None,
) -> Score:
    """Score a run's best weights on a split.

    Raises
    ------
    UsageError
        If the cache has other classes than the run, no such split, or its task no such metric.
    """
    return measure(run_answers(run, config, cache, split, loader=loader), metric)


def run_answers(
    run: Path, config: dict[str, Any], cache: Cache, split: str, *, loader: UnitLoader | None = None
) -> Answers:
    """Ask a run's best weights about the labelled clips of a split; raises as `evaluate_run`."""
    student = _student_for(run, config, cache, split)
    loader = loader or UnitLoader(cache, student.front_end, (), budget_bytes=0)
    return student_answers(student, loader, split, device=torch.device("cpu"))


def score_student(
    student: Student,
    loader: UnitLoader,
    split: str,
    *,
    device: torch.device,
    metric: str | None = None,
) -> Score:
    """Score a student in evaluation mode on the labelled clips of a split."""
    return measure(student_answers(student, loader, split, device=device), metric)


def student_answers(
    student: Student, loader: UnitLoader, split: str, *, device: torch.device
) -> Answers:
    """Ask a student in evaluation mode about the labelled clips of a split."""
    cache = loader.cache
    stream = Stream(loader, split, batch_size=EVALUATION_BATCH, seed=0)
    student.eval()
    logits: list[torch.Tensor] = [torch.zeros(0, len(cache.classes))]
    labels: list[torch.Tensor] = [torch.zeros(0, len(cache.classes))]
    with torch.no_grad(), closing(stream.in_order()) as batches:
        for batch in batches:
            output = student(batch.features_BTM.to(device), batch.lengths_B.to(device))
            logits.append(output.logits_BC.float().cpu()[batch.labelled_B])
            labels.append(batch.labels_BC[batch.labelled_B])
    return Answers.of(torch.cat(logits), torch.cat(labels), task=cache.task, classes=cache.classes)


def curve_name(config: dict[str, Any]) -> str:
    """Word for a run in a picture."""
    return "distilled" if config["distill"] else "undistilled"


def clip_curves(
    runs: list[Path], cache: Cache, split: str, clip_id: str
) -> tuple[NDArray[np.int16], dict[str, Curve]]:
    """Waveform of a clip, and where the teacher and each run's student listen in it.

    Returns
    -------
    samples_S : int16, shape (S,)
    curves : dict
        Name to (frame times in seconds, weights that sum to 1).

    Raises
    ------
    UsageError
        If the split has no such clip, or two runs would have the same name.
    """
    configs = {run: read_config(run) for run in runs}
    names = {run: curve_name(config) for run, config in configs.items()}
    if len(set(names.values())) < len(names):
        names = {run: f"{name} ({run.name})" for run, name in names.items()}
    has_teacher = TEMPORAL in cache.signals
    unit, row = _find_clip(cache, split, clip_id)
    stored = cache.read_unit(unit, (WAVEFORM, TEMPORAL) if has_teacher else (WAVEFORM,))
    curves: dict[str, Curve] = {}
    if has_teacher:
        spec = cache.signals[TEMPORAL]
        teacher_T = stored.signals[TEMPORAL][row].astype(np.float64)
        frame_T = np.arange(len(teacher_T), dtype=np.float64)
        times_T = (spec.first_frame_s or 0.0) + (spec.hop_s or 0.0) * frame_T
        curves["teacher"] = (times_T, teacher_T / teacher_T.sum())
    for run, config in configs.items():
        student = _student_for(run, config, cache, split)
        loader = UnitLoader(cache, student.front_end, (), budget_bytes=0)
        batch = collate([(loader.load(unit), row)])
        with torch.no_grad():
            output = student(batch.features_BTM, batch.lengths_B)
            look_T = student.looks_at(output)[0].numpy().astype(np.float64)
        frame_T = np.arange(len(look_T), dtype=np.float64)
        times_T = float(output.first_frame_s_B[0]) + output.hop_s * frame_T
        curves[names[run]] = (times_T, look_T)
    return stored.signals[WAVEFORM][row], curves


def _student_for(run: Path, config: dict[str, Any], cache: Cache, split: str) -> Student:
    if split not in cache.splits:
        raise unknown_name(split, cache.splits, "split of the cache")
    if tuple(config["classes"]) != cache.classes or config["task"] != cache.task:
        problems = [
            f"run: {config['task']}-label, {', '.join(config['classes'])}",
            f"cache: {cache.task}-label, {', '.join(cache.classes)}",
        ]
        raise UsageError(
            f"{run} and {cache.root} differ in their classes\n{listed(problems)}", kind="classes"
        )
    return load_student(run, config)


def _find_clip(cache: Cache, split: str, clip_id: str) -> tuple[Any, int]:
    """Find the unit of view 0 and the usable row that hold a clip."""
    for unit in cache.units(split, 0):
        ids = cache.clip_ids(unit.first_clip, unit.first_clip + unit.rows)
        if clip_id in ids:
            clips = cache.read_unit(unit, ()).clip.tolist()
            position = unit.first_clip + ids.index(clip_id)
            if position in clips:
                return unit, clips.index(position)
    raise UsageError(
        f"split {split!r} of {cache.root} has no usable clip {clip_id!r}. List them: inspect-cache "
        f"{cache.root}",
        kind="unknown",
    )

"""Score a trained student on a split of a cache."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cache_schema.errors import RunError, UsageError, bullet_list
from cache_schema.folder_kinds import instead_of_run
from cache_schema.plugins import unknown_name
from cache_schema.reader import Cache
from cache_schema.text import one_line, shell_word
from student.metrics.interface import Predictions
from student.models.interface import Student
from student.runs.checkpoint import load_student, read_json
from student.runs.run_config import CONFIG, config_problems
from student.stream.stream import Stream
from student.stream.unit_loader import UnitLoader

EVALUATION_BATCH = 64


def read_config(run: Path) -> dict[str, Any]:
    """Read a run's settings.

    Raises
    ------
    RunError
        If the folder holds no run, or one that an earlier version made.
    """
    if other := instead_of_run(run):
        raise RunError(other, kind="missing")
    config = read_json(run / CONFIG)
    if config is None:
        place = (
            "RUN" if os.path.lexists(run) else shell_word(run)
        )  # what is there is nothing to train into
        raise RunError(
            f"{run} is not a run (no config.json). Make one: train-student CACHE --student NAME "
            f"--out {place}",
            kind="missing",
        )
    if problems := config_problems(config):
        raise RunError(
            f"{run / CONFIG} is damaged, or another version wrote it; {len(problems)} problem(s)\n"
            f"{bullet_list(problems)}\nTrain it again with train-student.",
            kind="config",
        )
    return dict(config)


def run_predictions(
    run: Path, config: dict[str, Any], cache: Cache, split: str, *, loader: UnitLoader | None = None
) -> Predictions:
    """Run a run's best weights on the labelled clips of a split.

    Raises
    ------
    UsageError
        If the cache has other classes than the run, or no such split.
    """
    student = student_for(run, config, cache, split)
    loader = loader or UnitLoader(cache, student.front_end, (), budget_bytes=0)
    return student_predictions(student, loader, split, device=torch.device("cpu"))


def student_predictions(
    student: Student, loader: UnitLoader, split: str, *, device: torch.device
) -> Predictions:
    """Run a student in evaluation mode on the labelled clips of a split."""
    cache = loader.cache
    stream = Stream(loader, split, batch_size=EVALUATION_BATCH, seed=0)
    student.eval()
    logits: list[torch.Tensor] = [torch.zeros(0, len(cache.classes))]
    labels: list[torch.Tensor] = [torch.zeros(0, len(cache.classes))]
    clips = [np.zeros(0, np.int64)]
    with torch.no_grad(), closing(stream.in_order()) as batches:
        for batch in batches:
            moved = batch.to(device)
            output = student(moved.features_BTM, moved.ragged_lengths)
            logits.append(output.logits_BC.float().cpu()[batch.labelled_B])
            labels.append(batch.labels_BC[batch.labelled_B])
            clips.append(batch.clips[batch.labelled_B.numpy()])
    return Predictions.of(
        torch.cat(logits),
        torch.cat(labels),
        task=cache.task,
        classes=cache.classes,
        clips_N=np.concatenate(clips),
    )


def student_for(run: Path, config: dict[str, Any], cache: Cache, split: str) -> Student:
    """Load a run's student for a split of a cache; raises as `run_predictions`."""
    if split not in cache.splits:
        raise unknown_name(split, cache.splits, "split of the cache")
    check_classes(run, config, cache)
    return load_student(run, config)


def check_classes(run: Path, config: dict[str, Any], cache: Cache) -> None:
    """Reject a cache of other classes than the run's.

    Raises
    ------
    UsageError
        With both.
    """
    if tuple(config["classes"]) != cache.classes or config["task"] != cache.task:
        problems = [
            f"run: {config['task']}-label, {', '.join(map(one_line, config['classes']))}",
            f"cache: {cache.task}-label, {', '.join(map(one_line, cache.classes))}",
        ]
        raise UsageError(
            f"{run} and {cache.root} differ in their classes\n{bullet_list(problems)}",
            kind="classes",
        )

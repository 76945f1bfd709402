"""What a training costs: a few real steps, and a sum."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import cycle, islice

import torch

from cache_schema.reader import Cache, Unit
from student.runs.settings import Settings, build_student
from student.stream.batch import Batch
from student.stream.unit_loader import BUDGET_BYTES, UnitData, UnitLoader, collate
from student.training.loop import TRAIN, VALIDATION, rows_of
from student.training.objective import Objective, build_objective, class_maps, needed_signals

STEPS = 3
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class ClipCost:
    """CPU time of one clip, in seconds, and its memory.

    Attributes
    ----------
    load_s : float
        To read it and compute its features, once for each view that memory holds.
    step_s : float
        To learn from it, once an epoch.
    eval_s : float
        To be evaluated on it, once an epoch on the validation split.
    row_bytes : float
        Held of each of its views.
    """

    load_s: float
    step_s: float
    eval_s: float
    row_bytes: float


def run_hours(cache: Cache, settings: Settings, cost: ClipCost) -> float:
    """CPU-hours of one run; features that memory does not hold are computed in every epoch."""
    epochs = settings.recipe.epochs
    clips, held_out = _clips(cache, TRAIN), _clips(cache, VALIDATION)
    rows = clips * min(cache.views, epochs) + held_out
    held = min(rows, BUDGET_BYTES / cost.row_bytes)
    loads = held + (1 - held / rows) * epochs * (clips + held_out)
    steps_s = epochs * (epoch_clips(cache, settings) * cost.step_s + held_out * cost.eval_s)
    return (loads * cost.load_s + steps_s) / HOUR_S


def training_plan(cache: Cache, settings: Settings) -> list[str]:
    """Measure and describe what a training would take; nothing is written.

    Parameters
    ----------
    cache : Cache
        An open cache that `student.training.train.check_trainable` accepts.
    settings : Settings
        Of the training.

    Returns
    -------
    list of str
        Parameters, clips, time and memory, a line each.
    """
    student = build_student(settings.student, settings.student_options, len(cache.classes))
    cost, recipe = profile_clip(cache, settings), settings.recipe
    clips, hours = epoch_clips(cache, settings), run_hours(cache, settings, cost)
    held_out = _clips(cache, VALIDATION)
    rows = _clips(cache, TRAIN) * min(cache.views, recipe.epochs) + held_out
    epoch_s = clips * cost.step_s + held_out * cost.eval_s / settings.validate_every
    features = min(rows * cost.row_bytes, BUDGET_BYTES)
    steps = -(-clips // (recipe.batch_size * settings.lanes))
    read = f"{clips} to train on in {cache.views} view(s), {held_out} to validate on"
    lines = [
        f"student   {settings.student}, {sum(p.numel() for p in student.parameters()):,} parameters",
        f"clips     {read}; {steps} steps an epoch",
        f"time      {epoch_s:.1f} CPU-seconds an epoch, {hours:.2f} CPU-hours in all",
        f"memory    {features / 1e6:.0f} MB of features, at most {BUDGET_BYTES / 1e6:.0f} MB",
    ]
    if settings.lanes > 1:
        # Validation is done by each process for itself.
        counts = [n for n in range(1, settings.lanes + 1) if settings.lanes % n == 0]
        alone_h = settings.recipe.epochs * held_out * cost.eval_s / HOUR_S
        shared = [f"{alone_h + (hours - alone_h) / n:.2f} h on {n}" for n in counts]
        lines.append(f"processes {', '.join(shared)}, where each has a core of its own")
    return lines


def profile_clip(cache: Cache, settings: Settings) -> ClipCost:
    """Measure on one work unit of the training split, after one step to warm up."""
    objective = build_objective(cache, settings)
    loader = UnitLoader(
        cache,
        objective.student.front_end,
        needed_signals(settings),
        class_maps=class_maps(cache, settings),
    )
    began_s = time.process_time()
    rows = _first_rows(loader, cache.units(TRAIN, 0))
    load_s = (time.process_time() - began_s) / len(rows.clips)
    row_bytes = rows.size_bytes / len(rows.clips)
    size = settings.recipe.batch_size
    places = [(rows, row) for row in range(len(rows.clips))]
    batches = [collate(places[first : first + size]) for first in range(0, len(places), size)]
    optimizer = torch.optim.Adam(objective.parameters(), fused=True)
    _learn(objective, optimizer, batches[0])
    chosen = list(islice(cycle(batches), STEPS))
    clips = sum(len(batch.clips) for batch in chosen)
    began_s = time.process_time()
    for batch in chosen:
        _learn(objective, optimizer, batch)
    learned_s = time.process_time()
    objective.student.eval()
    with torch.no_grad():
        for batch in chosen:
            objective.student(batch.features_BTM, batch.ragged_lengths)
    evaluated_s = time.process_time()
    return ClipCost(
        load_s, (learned_s - began_s) / clips, (evaluated_s - learned_s) / clips, row_bytes
    )


def _first_rows(loader: UnitLoader, units: list[Unit]) -> UnitData:
    """Load the first unit that has a usable row; `train` rejects a cache without one."""
    return next(rows for unit in units if len((rows := loader.load(unit)).clips))


def _learn(objective: Objective, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    optimizer.zero_grad()
    objective(batch)["total"].backward()
    optimizer.step()


def epoch_clips(cache: Cache, settings: Settings) -> int:
    """Clips that an epoch of a training takes, each as often as it does."""
    return rows_of(cache, settings).rows(_clips(cache, TRAIN))


def _clips(cache: Cache, split: str) -> int:
    return sum(unit.rows for unit in cache.units(split, 0)) if split in cache.splits else 0

"""What a comparison costs: a few real steps of each student on each cache, and a sum."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle, islice, product

import torch

from cache_schema.reader import Cache, Unit
from student.compare.conditions import parse_losses
from student.compare.runs import Comparison, Results, Run
from student.runs.settings import Settings
from student.stream.batch import Batch
from student.stream.unit_loader import BUDGET_BYTES, UnitData, UnitLoader, collate
from student.training.loop import TRAIN, VALIDATION
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


def cost_table(
    comparison: Comparison, caches: Mapping[str, Cache], results: Results, jobs: int
) -> Iterator[str]:
    """Estimate for each cache and student what a run costs, what is done and what is left."""
    alternatives = dict.fromkeys(
        one for condition in comparison.conditions for one in condition.alternatives
    )
    heaviest = max(alternatives, key=lambda one: len(parse_losses(one)))
    total_h = 0.0
    for name, student in product(caches, comparison.students):
        runs = [run for run in comparison.runs() if (run.cache, run.student) == (name, student)]
        done = sum(results[run] is not None for run in runs)
        settings = comparison.settings(Run(name, student, heaviest, 0))
        hours = run_hours(caches[name], settings, profile_clip(caches[name], settings))
        left_h = hours * (len(runs) - done)
        total_h += left_h
        yield (
            f"{name}, {student}: {hours:.3f} CPU-hours a run of {settings.recipe.epochs} epochs; "
            f"{done} of {len(runs)} runs done, {left_h:.2f} CPU-hours left"
        )
    yield f"total left: {total_h:.2f} CPU-hours, {total_h / jobs:.2f} hours with --jobs {jobs}"


def run_hours(cache: Cache, settings: Settings, cost: ClipCost) -> float:
    """CPU-hours of one run; features that memory does not hold are computed in every epoch."""
    epochs = settings.recipe.epochs
    clips, held_out = _clips(cache, TRAIN), _clips(cache, VALIDATION)
    rows = clips * min(cache.views, epochs) + held_out
    held = min(rows, BUDGET_BYTES / cost.row_bytes)
    loads = held + (1 - held / rows) * epochs * (clips + held_out)
    steps_s = epochs * (clips * cost.step_s + held_out * cost.eval_s)
    return (loads * cost.load_s + steps_s) / HOUR_S


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
    """Load the first unit that has a usable row; `train` refuses a cache without one."""
    return next(rows for unit in units if len((rows := loader.load(unit)).clips))


def _learn(objective: Objective, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    optimizer.zero_grad()
    objective(batch)["total"].backward()
    optimizer.step()


def _clips(cache: Cache, split: str) -> int:
    return sum(unit.rows for unit in cache.units(split, 0)) if split in cache.splits else 0

"""What a comparison costs: each student's run on each cache, and what is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from cache_schema.reader import Cache
from student.compare.conditions import parse_losses
from student.compare.runs import Comparison, Results, Run
from student.compare.selection import Selection
from student.training.cost import ClipCost, profile_clip, run_hours


def cost_table(
    comparison: Comparison, caches: Mapping[str, Cache], results: Results, jobs: int
) -> Iterator[str]:
    """Estimate for each cache and student what a run costs, what is done and what is left."""
    alternatives = dict.fromkeys(
        one for condition in comparison.conditions for one in condition.alternatives
    )
    heaviest = max(alternatives, key=lambda one: len(parse_losses(one)))
    selection = Selection(comparison, results)
    needed, to_come = selection.needed(), selection.to_come()
    left = [run for run in needed if results[run] is None] + to_come
    total_h = 0.0
    for name, student in product(caches, comparison.students):
        runs, own = ([r for r in several if (r.cache, r.student) == (name, student)]
                     for several in ([*needed, *to_come], left))  # fmt: skip
        settings = comparison.settings(Run(name, student, heaviest, 0))
        cost = profile_clip(caches[name], settings)
        hours = run_hours(caches[name], settings, cost)
        left_h = _hours(comparison, caches[name], own, cost)
        total_h += left_h
        yield (
            f"{name}, {student}: {hours:.3f} CPU-hours a run of {settings.recipe.epochs} epochs; "
            f"{len(runs) - len(own)} of {len(runs)} runs done, {left_h:.2f} CPU-hours left"
        )
    yield from _rounds(comparison)
    yield f"total left: {total_h:.2f} CPU-hours, {total_h / jobs:.2f} hours with --jobs {jobs}"


def _hours(comparison: Comparison, cache: Cache, runs: Sequence[Run], cost: ClipCost) -> float:
    """CPU-hours of runs; those that differ in their seed, or in what they learn, take as long."""
    known: dict[tuple[int, int | None], float] = {}
    total_h = 0.0
    for run in runs:
        settings = comparison.settings(run)
        key = (settings.recipe.epochs, settings.unlabelled)
        if key not in known:
            known[key] = run_hours(cache, settings, cost)
        total_h += known[key]
    return total_h


def _rounds(comparison: Comparison) -> Iterator[str]:
    """Count the epochs of each search, beside those that all alternatives would take."""
    for cell in comparison.cells:
        rungs = comparison.rungs(cell)
        if len(rungs) == 1:
            continue
        full = comparison.settings(Run(*cell[:2], cell[2].alternatives[0], 0)).recipe.epochs
        epochs = [rung.epochs or full for rung in rungs]
        terms = [f"{r.candidates} x {n}" for r, n in zip(rungs, epochs, strict=True)]
        halved = sum(r.candidates * n for r, n in zip(rungs, epochs, strict=True))
        yield (
            f"{cell[0]}, {cell[1]}, {cell[2]}: {' + '.join(terms)} = {halved} epochs for each of "
            f"{comparison.seeds} seed(s), {rungs[0].candidates * full} without --halving"
        )

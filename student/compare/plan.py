"""What a comparison costs: each student's run on each cache, and what is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from cache_schema.reader import Cache
from student.compare.conditions import parse_losses
from student.compare.runs import Comparison, Results, Run
from student.training.cost import profile_clip, run_hours


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

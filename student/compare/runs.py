"""The runs of a comparison: where each lies, what trains it, what is left to do, what is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from cache_schema.errors import UsageError, bullet_list
from cache_schema.reader import Cache
from cache_schema.text import one_line
from student.compare.conditions import Condition, folder_name, parse_losses, train_arguments
from student.compare.statistics import mean
from student.runs.checkpoint import read_json
from student.runs.settings import Settings, build_student, diff_settings, parse_student
from student.training import cli as train_cli
from student.training.loop import TRAIN, VALIDATION
from student.training.objective import check_signals, class_maps
from student.training.train import (
    CONFIG,
    HELD_OUT,
    check_trainable,
    finished_result,
    resolved_run,
)

RUNS = "runs"
# What the comparison itself sets for each run.
OURS = ("--student", "--out", "--distill", "--seed")


@dataclass(frozen=True, slots=True)
class Run:
    """One training: a cache by its name, a student, an alternative and a seed."""

    cache: str
    student: str
    alternative: str
    seed: int

    def __str__(self) -> str:
        return f"{one_line(self.cache)}, {self.student}, {self.alternative}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class RunJob:
    """A run with the splits that it is to be scored on."""

    run: Run
    score_on: tuple[str, ...]


Results = Mapping[Run, dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared.

    Attributes
    ----------
    out : Path
        Folder of everything.
    caches : dict of str to Path
        By their names in tables and folders.
    students : tuple of str
        As ``train-student`` takes them.
    conditions : tuple of Condition
    seeds : int
        Seeds 0, 1, ... of each cell.
    train : tuple of str
        Options of ``train-student`` for all runs alike, word by word.
    """

    out: Path
    caches: dict[str, Path]
    students: tuple[str, ...]
    conditions: tuple[Condition, ...]
    seeds: int
    train: tuple[str, ...]

    def runs(self) -> list[Run]:
        """Every run once, seed by seed, so that a table grows evenly."""
        alternatives = dict.fromkeys(
            one for condition in self.conditions for one in condition.alternatives
        )
        cells = product(range(self.seeds), self.caches, self.students, alternatives)
        return [Run(cache, student, one, seed) for seed, cache, student, one in cells]

    def seeds_of(self, cache: str, student: str, alternative: str) -> list[Run]:
        """Runs that differ in their seed alone."""
        return [Run(cache, student, alternative, seed) for seed in range(self.seeds)]

    def folder(self, run: Run) -> Path:
        """Folder of a run, an ordinary one."""
        words = (run.cache, run.student, run.alternative)
        return self.out.joinpath(RUNS, *map(folder_name, words), f"seed-{run.seed}")

    def words(self, run: Run) -> list[str]:
        """What ``train-student`` gets for a run."""
        own = ["--student", run.student, "--out", str(self.folder(run)), "--seed", str(run.seed)]
        learned = train_arguments(run.alternative)
        return [str(self.caches[run.cache]), *self.train, *own, *learned]

    def settings(self, run: Run) -> Settings:
        """Settings of a run; rejects what `train_cli` rejects."""
        context = train_cli.main.make_context("train-student", self.words(run))
        if context.params["plan"]:
            raise UsageError(
                "--train '--plan' trains nothing; compare-students --plan shows the cost",
                kind="options",
            )
        train_cli.check_training_device(context.params["device"])
        return train_cli.resolve(context.params)

    def result(self, run: Run) -> dict[str, Any] | None:
        """Read a run's result if it is finished, whatever it is scored on."""
        return finished_result(self.folder(run), ())

    def choices(self, results: Results) -> dict[tuple[str, str, Condition], str]:
        """Alternative of each condition, by cache and student: its only one, or validation's choice.

        A choice is made once all runs that it depends on are done, by the mean over their seeds; the
        first of equals.
        """
        chosen = {}
        for cache, student, condition in product(self.caches, self.students, self.conditions):
            runs = {a: self.seeds_of(cache, student, a) for a in condition.alternatives}
            if len(runs) == 1:
                chosen[cache, student, condition] = condition.alternatives[0]
            elif all(results[run] for several in runs.values() for run in several):
                scores = {a: mean([_validation(results[r]) for r in runs[a]]) for a in runs}
                chosen[cache, student, condition] = max(scores, key=lambda a: scores[a])
        return chosen

    def outstanding(self, results: Results) -> list[RunJob]:
        """What is left to do: trainings, and the test scores of what is chosen."""
        chosen = {(c, s, one) for (c, s, _), one in self.choices(results).items()}
        jobs = []
        for run in self.runs():
            read_test = (run.cache, run.student, run.alternative) in chosen
            score_on = HELD_OUT if read_test else (VALIDATION,)
            result = results[run]
            # The last of them is what counts: a cache may have no validation split to score.
            if result is None or score_on[-1] not in result["splits"]:
                jobs.append(RunJob(run, score_on))
        return jobs


def _validation(result: dict[str, Any] | None) -> float:
    """Validation score of a finished run; below all others where it has none."""
    score = result["splits"].get(VALIDATION, {}).get("score") if result else None
    return float("-inf") if score is None else float(score)


def check_comparison(comparison: Comparison, caches: Mapping[str, Cache], *, folds: bool) -> None:
    """Reject before anything is trained what every run, or the table, would reject.

    Raises
    ------
    UsageError
        For a split that is missing, a setting that is no run's own, or runs of other settings.
    CacheError
        For signals that a cache lacks.
    """
    _check_splits(
        caches, several=any(len(condition.alternatives) > 1 for condition in comparison.conditions)
    )
    _check_alike(caches, folds=folds)
    if ours := [word for word in comparison.train if word.split("=")[0] in OURS]:
        raise UsageError(
            f"--train must leave {', '.join(ours)} to --student, --out, --condition and --seeds",
            kind="options",
        )
    settings = {run: comparison.settings(run) for run in comparison.runs()}
    for run, found in settings.items():
        if found.distill != parse_losses(run.alternative):
            raise UsageError(
                "the --config of --train has losses of its own; leave distill to --condition",
                kind="options",
            )
    for name, options in (parse_student(student) for student in comparison.students):
        build_student(name, options, classes=2)  # whatever its options, before any is trained
    for run in settings:
        if run.seed == 0:
            check_trainable(caches[run.cache], settings[run])
            _check_signals(caches[run.cache], settings[run], comparison)
    _check_same_settings(comparison, settings, caches)


def _check_same_settings(
    comparison: Comparison, settings: Mapping[Run, Settings], caches: Mapping[str, Cache]
) -> None:
    """Refuse runs that were begun with other settings, each difference once."""
    stale: dict[str, list[Path]] = {}
    for run, wanted in settings.items():
        before = read_json(comparison.folder(run) / CONFIG)
        if isinstance(before, dict):
            _, resolved = resolved_run(comparison.folder(run), wanted, caches[run.cache])
            for change in diff_settings(before, resolved):
                stale.setdefault(change, []).append(comparison.folder(run))
    if stale:
        lines = [f"{change} ({len(runs)} run(s): {runs[0]})" for change, runs in stale.items()]
        raise UsageError(
            f"{comparison.out} holds runs of other settings; {len(stale)} differ\n{bullet_list(lines)}\n"
            "Nothing was changed. Choose another --out.",
            kind="stale",
        )


def _check_alike(caches: Mapping[str, Cache], *, folds: bool) -> None:
    """Refuse caches that cannot stand in one table, or in one block of it."""
    if len({cache.task for cache in caches.values()}) > 1:
        raise UsageError(
            f"these caches differ in their task: {_each_cache(caches, 'task')}. Compare them "
            "one by one.",
            kind="classes",
        )
    if folds and len({cache.classes for cache in caches.values()}) > 1:
        raise UsageError(
            f"--folds takes folds of one corpus; these caches differ in their classes: "
            f"{_each_cache(caches, 'classes')}",
            kind="classes",
        )


def _each_cache(caches: Mapping[str, Cache], fact: str) -> str:
    return "; ".join(f"{name} has {getattr(cache, fact)}" for name, cache in caches.items())


def _check_signals(cache: Cache, settings: Settings, comparison: Comparison) -> None:
    """Refuse all missing signals of a cache at once, and teachers that lack a class."""
    alternatives = [one for condition in comparison.conditions for one in condition.alternatives]
    losses = {loss.key: loss for one in alternatives for loss in parse_losses(one)}
    check_signals(cache, replace(settings, distill=tuple(losses.values())))
    class_maps(cache, settings)


def _labelled(cache: Cache, split: str) -> bool:
    """Return whether any clip has a label; negatives of all classes alone cannot be ranked."""
    return any(cache.read_unit(unit, ()).labels.any() for unit in cache.units(split, 0))


def _check_splits(caches: Mapping[str, Cache], *, several: bool) -> None:
    needed = {TRAIN, *HELD_OUT} if several else {TRAIN, HELD_OUT[-1]}
    problems = [
        f"{cache.root} has no split {split!r}; it has: {', '.join(cache.splits)}"
        for cache in caches.values()
        for split in sorted(needed - set(cache.splits))
    ]
    problems += [
        f"{cache.root} has no labelled clip in split {VALIDATION!r} to choose alternatives by"
        for cache in caches.values()
        if several and VALIDATION in cache.splits and not _labelled(cache, VALIDATION)
    ]
    if problems:
        raise UsageError(
            f"{len(problems)} split(s) to train on, choose by or score are "
            f"missing\n{bullet_list(problems)}\n"
            "See the splits: inspect-cache CACHE",
            kind="split",
        )

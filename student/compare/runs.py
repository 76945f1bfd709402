"""The runs of a comparison: where each lies, what trains it, what is left to do, what is chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

from cache_schema.errors import UsageError, bullet_list
from cache_schema.reader import Cache
from cache_schema.store.address import CachePath
from cache_schema.text import one_line
from student.compare.conditions import Condition, folder_name, parse_losses, train_arguments
from student.compare.halving import Rung, rungs
from student.runs.checkpoint import read_json
from student.runs.run_config import CONFIG
from student.runs.settings import Settings, build_student, diff_settings, parse_student
from student.training import cli as train_cli
from student.training.loggers.session import logger_class
from student.training.loop import TRAIN, VALIDATION
from student.training.objective import check_signals, class_maps
from student.training.train import (
    HELD_OUT,
    TEST,
    check_trainable,
    finished_result,
    resolved_run,
)

RUNS = "runs"
# What the comparison itself sets for each run.
OURS = ("--student", "--out", "--distill", "--seed")


@dataclass(frozen=True, slots=True)
class Run:
    """One training: a cache by its name, a student, an alternative and a seed.

    `epochs` is how many a round of successive halving gives it; None is all.
    """

    cache: str
    student: str
    alternative: str
    seed: int
    epochs: int | None = None

    def __str__(self) -> str:
        text = f"{one_line(self.cache)}, {self.student}, {self.alternative}, seed {self.seed}"
        return text if self.epochs is None else f"{text}, {self.epochs} epoch(s)"


Results = Mapping[Run, dict[str, Any] | None]
Cell = tuple[str, str, Condition]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared.

    Attributes
    ----------
    out : Path
        Folder of everything.
    caches : dict of str to CachePath
        By their names in tables and folders.
    students : tuple of str
        As ``train-student`` takes them.
    conditions : tuple of Condition
    seeds : int
        Seeds 0, 1, ... of each cell.
    train : tuple of str
        Options of ``train-student`` for all runs alike, word by word.
    halving : int or None
        One of so many alternatives is kept after each round of successive halving; None trains all
        of them for all epochs.
    """

    out: Path
    caches: dict[str, CachePath]
    students: tuple[str, ...]
    conditions: tuple[Condition, ...]
    seeds: int
    train: tuple[str, ...]
    halving: int | None = None

    @property
    def cells(self) -> list[Cell]:
        """Caches, students and conditions, combined."""
        return list(product(self.caches, self.students, self.conditions))

    def rungs(self, cell: Cell) -> tuple[Rung, ...]:
        """Rounds in which the alternatives of a cell are trained; one without halving."""
        cache, student, condition = cell
        count = len(condition.alternatives)
        if self.halving is None or count == 1:
            return (Rung(None, count),)
        settings = self.settings(Run(cache, student, condition.alternatives[0], 0))
        return rungs(count, settings.recipe.epochs, self.halving)

    def runs(self) -> list[Run]:
        """Every run that validation may call for, once, seed by seed."""
        return self.seed_by_seed(
            (cell, rung, cell[2].alternatives) for cell in self.cells for rung in self.rungs(cell)
        )

    def seed_by_seed(self, rounds: Iterable[tuple[Cell, Rung, Sequence[str]]]) -> list[Run]:
        """Runs of rounds with their alternatives, in an order in which a table grows evenly."""
        runs = dict.fromkeys(
            run
            for (cache, student, _), rung, alternatives in rounds
            for one in alternatives
            for run in self.seeds_of(cache, student, one, rung.epochs)
        )
        return sorted(runs, key=lambda run: run.seed)

    def seeds_of(
        self, cache: str, student: str, alternative: str, epochs: int | None = None
    ) -> list[Run]:
        """Runs that differ in their seed alone."""
        return [Run(cache, student, alternative, seed, epochs) for seed in range(self.seeds)]

    def folder(self, run: Run) -> Path:
        """Folder of a run, an ordinary one."""
        words = [folder_name(word) for word in (run.cache, run.student, run.alternative)]
        words += [] if run.epochs is None else [f"epochs-{run.epochs}"]
        return self.out.joinpath(RUNS, *words, f"seed-{run.seed}")

    def words(self, run: Run) -> list[str]:
        """What ``train-student`` gets for a run."""
        own = ["--student", run.student, "--out", str(self.folder(run)), "--seed", str(run.seed)]
        own += [] if run.epochs is None else ["--epochs", str(run.epochs)]
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
        for name in context.params["loggers"]:
            logger_class(name)
        return train_cli.resolve(context.params)

    def result(self, run: Run) -> dict[str, Any] | None:
        """Read a run's result if it is finished, whatever it is scored on."""
        return finished_result(self.folder(run), ())


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
    _check_said_once(comparison)
    for name, options in (parse_student(student) for student in comparison.students):
        build_student(name, options, classes=2)  # whatever its options, before any is trained
    for run in settings:
        if run.seed == 0 and run.epochs is None:
            check_trainable(caches[run.cache], settings[run])
            _check_signals(caches[run.cache], settings[run], comparison)
    _check_same_settings(comparison, settings, caches)
    _check_halving(comparison)


def _check_said_once(comparison: Comparison) -> None:
    """Reject a student, an alternative or a condition that is there twice in other words.

    Texts that are equal are one already; ``logits=0.5`` and ``logits=0.50`` are trained alike, too.
    """
    cache = next(iter(comparison.caches))
    conditions = comparison.conditions
    student, alternative = comparison.students[0], conditions[0].alternatives[0]

    def identity(student: str, alternative: str) -> str:
        return comparison.settings(Run(cache, student, alternative, 0)).identity

    students = {one: identity(one, alternative) for one in comparison.students}
    ways = {one: identity(student, one) for c in conditions for one in c.alternatives}
    choices = {str(c): " ".join(sorted({ways[one] for one in c.alternatives})) for c in conditions}
    twice = [
        " and ".join(alike)
        for trained in (students, {**ways, **choices})
        for alike in _grouped(trained).values()
        if len(alike) > 1
    ]
    if twice:
        raise UsageError(
            f"the same would be trained and counted twice\n{bullet_list(twice)}\nGive each student, and "
            "each --condition or alternative of it, once.",
            kind="options",
        )


def _grouped(names: Mapping[str, str]) -> dict[str, list[str]]:
    """Names by what they stand for."""
    groups: dict[str, list[str]] = {}
    for name, stands_for in names.items():
        groups.setdefault(stands_for, []).append(name)
    return groups


def _check_halving(comparison: Comparison) -> None:
    """Reject a halving of what is too little for a second round."""
    if comparison.halving is None:
        return
    if all(len(comparison.rungs(cell)) == 1 for cell in comparison.cells):
        most = max(len(condition.alternatives) for condition in comparison.conditions)
        epochs = comparison.settings(comparison.runs()[0]).recipe.epochs
        raise UsageError(
            f"--halving {comparison.halving} takes a condition of at least {comparison.halving} "
            f"alternatives, and as many epochs; there are {most} alternatives, and {epochs} epochs. For "
            "example: --condition 'logits=0.1;0.25;0.5:temperature=1;2;4'",
            kind="options",
        )


def _check_same_settings(
    comparison: Comparison, settings: Mapping[Run, Settings], caches: Mapping[str, Cache]
) -> None:
    """Reject runs that were begun with other settings, each difference once."""
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
    """Reject caches that cannot stand in one table, or in one block of it."""
    if len({cache.task for cache in caches.values()}) > 1:
        raise UsageError(
            f"these caches differ in their task: {_each_cache(caches, 'task')}. Compare them "
            "one by one.",
            kind="classes",
        )
    if not folds:
        return
    _check_folds(caches)
    if len({cache.classes for cache in caches.values()}) > 1:
        raise UsageError(
            f"--folds takes folds of one corpus; these caches differ in their classes: "
            f"{_each_cache(caches, 'classes')}",
            kind="classes",
        )


def _check_folds(caches: Mapping[str, Cache]) -> None:
    """Reject what is no second fold: nothing, or the test clips of another."""
    if len(caches) < 2:
        raise UsageError(
            f"--folds takes two or more caches, the folds of one corpus; there is one, "
            f"{next(iter(caches.values())).root}. Name the caches of the other folds, or leave out "
            "--folds",
            kind="options",
        )
    prints = {name: cache.manifest.corpus.fingerprint for name, cache in caches.items()}
    if twice := [", ".join(same) for same in _grouped(prints).values() if len(same) > 1]:
        raise UsageError(
            "--folds takes folds of one corpus, each with its own test clips; these have the same "
            f"clips in the same splits: {'; '.join(twice)}. Leave out all but one of them, or --folds",
            kind="options",
        )
    tests = {name: _test_clips(cache) for name, cache in caches.items()}
    shared = [
        f"{one} and {other} share {len(both)} of {len(tests[other])}"
        for one, other in combinations(tests, 2)
        if (both := tests[one] & tests[other])
    ]
    if shared:
        raise UsageError(
            "--folds takes folds of one corpus, each with its own test clips, as their scores count as "
            f"independent; {'; '.join(shared)}. Leave out all but one of them, or --folds",
            kind="options",
        )


def _test_clips(cache: Cache) -> set[str]:
    splits = [split for split in cache.manifest.corpus.splits if split.name == TEST]
    return {
        clip
        for split in splits
        for clip in cache.clip_ids(split.first_clip, split.first_clip + split.clips)
    }


def _each_cache(caches: Mapping[str, Cache], fact: str) -> str:
    return "; ".join(f"{name} has {getattr(cache, fact)}" for name, cache in caches.items())


def _check_signals(cache: Cache, settings: Settings, comparison: Comparison) -> None:
    """Reject all missing signals of a cache at once, and teachers that lack a class."""
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
        f"{cache.root} has no clip with any class in split {VALIDATION!r} to choose alternatives by"
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

"""Runs that can stand beside each other: one student on one cache, by what it learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cache_schema.errors import UsageError, bullet_list
from cache_schema.reader import Cache
from student.compare.conditions import NONE, Condition
from student.compare.runs import Run
from student.compare.table import TableRow, table_row
from student.report.run_folder import RunFolder
from student.report.settings_text import learned_from, student_text
from student.runs.predict import check_classes
from student.runs.settings import diff_settings
from student.training.loop import VALIDATION
from student.training.train import TEST

# What runs of one student may differ in and still be compared.
FREE = ("seed", "distill", "label_weight", "cache_sha256", "plugins")


@dataclass(frozen=True, slots=True)
class Block:
    """A student on a cache: all its runs, and the one that is shown in detail.

    Attributes
    ----------
    name : str
        The student, and the cache where there are several.
    split : str
        Whose scores are shown.
    rows : list of TableRow
        One for each thing that it learned from, by its main metric; ``none`` first.
    runs : dict of str to list of RunFolder
        By what they learned from, seed by seed.
    learned : str
        What the one in detail learned from, as a key of `runs`.
    shown : RunFolder
        The one in detail.
    twin : RunFolder or None
        Its undistilled twin, of the same seed where there is one.
    cache : Cache or None
        What they were trained on, where it is at hand.
    """

    name: str
    split: str
    rows: list[TableRow]
    runs: dict[str, list[RunFolder]]
    learned: str
    shown: RunFolder
    twin: RunFolder | None
    cache: Cache | None

    @property
    def row(self) -> TableRow:
        """Row of the run in detail."""
        return next(row for row in self.rows if str(row.condition) == self.learned)


def blocks_of(runs: Sequence[RunFolder], cache: Cache | None) -> list[Block]:
    """Group runs by their settings, and those by what they learned from.

    Raises
    ------
    UsageError
        If they are of different corpora or classes, or one of them is given twice.
    """
    _check_alike(runs)
    if cache is not None:
        for run in runs:
            check_classes(run.path, run.config, cache)
        _check_corpus(runs[0], cache)
    groups: list[list[RunFolder]] = []
    for run in runs:
        own = next((g for g in groups if not _differences(g[0], run)), None)
        if own is None:
            groups.append([run])
        else:
            own.append(run)
    names = _names(groups)
    return [make_block(name, group, cache) for name, group in zip(names, groups, strict=True)]


def make_block(name: str, runs: Sequence[RunFolder], cache: Cache | None) -> Block:
    """Put runs of one student side by side; the first distilled one is shown in detail."""
    ordered: dict[str, list[RunFolder]] = {NONE: []}
    for run in runs:
        ordered.setdefault(learned_from(run.config), []).append(run)
    found = {text: sorted(g, key=lambda run: run.seed) for text, g in ordered.items() if g}
    _check_once(found)
    shown = next((run for run in runs if run.distilled), runs[0])
    splits = shown.result["splits"]
    split = TEST if TEST in splits or VALIDATION not in splits else VALIDATION
    learned = learned_from(shown.config)
    rows = _rows(name, found, split)
    return Block(name, split, rows, found, learned, shown, twin_of(shown, found), cache)


def twin_of(shown: RunFolder, found: Mapping[str, Sequence[RunFolder]]) -> RunFolder | None:
    """Find a distilled run's undistilled twin, of the same seed where there is one."""
    twins = found.get(NONE, []) if shown.distilled else []
    return next((run for run in twins if run.seed == shown.seed), next(iter(twins), None))


def _rows(name: str, found: Mapping[str, list[RunFolder]], split: str) -> list[TableRow]:
    """Rows of a table as ``compare-students`` has them, by the same statistics."""
    seeds = sorted({run.seed for group in found.values() for run in group})
    student = student_text(next(iter(found.values()))[0].config)
    metric = next(iter(found.values()))[0].result["metric"]
    places: dict[str, list[Run | None]] = {}
    results: dict[Run, dict[str, Any] | None] = {}
    for text, group in found.items():
        of_seed = {run.seed: run for run in group}
        places[text] = [Run(name, student, text, s) if s in of_seed else None for s in seeds]
        for seed, run in of_seed.items():
            scored = run.result["splits"].get(split)
            splits = {TEST: scored} if scored else {}
            results[Run(name, student, text, seed)] = {**run.result, "splits": splits}
    plain = places.get(NONE, [None] * len(seeds))
    return [
        table_row(results, name, student, Condition((text,)), metric, [own], [plain])
        for text, own in places.items()
    ]


def _differences(one: RunFolder, other: RunFolder) -> list[str]:
    configs = [{k: v for k, v in run.config.items() if k not in FREE} for run in (one, other)]
    return diff_settings(*configs)


def _names(groups: Sequence[Sequence[RunFolder]]) -> list[str]:
    """Name groups after their students, with what distinguishes those of one student."""
    names = []
    for group in groups:
        name = student_text(group[0].config)
        like = [g for g in groups if student_text(g[0].config) == name]
        if len(like) > 1:
            changes = [c for g in like if g is not group for c in _differences(group[0], g[0])]
            facts = dict.fromkeys(change.partition(", requested")[0] for change in changes)
            name += f" ({'; '.join(fact.replace(': the run has', '') for fact in facts)})"
        names.append(name)
    return names


def _check_alike(runs: Sequence[RunFolder]) -> None:
    first = runs[0]
    facts = ("task", "classes", "corpus_fingerprint")
    problems = [
        f"{fact}: {first.path} has {_short(first.config.get(fact))}, {run.path} has "
        f"{_short(run.config.get(fact))}"
        for run in runs[1:]
        for fact in facts
        if run.config.get(fact) != first.config.get(fact)
    ]
    if problems:
        raise UsageError(
            f"these runs are of different caches\n{bullet_list(problems, 20)}\nGive runs of one corpus, "
            "or compare caches: compare-students CACHE... --report FILE.html",
            kind="stale",
        )


def _check_corpus(run: RunFolder, cache: Cache) -> None:
    own, found = run.config.get("corpus_fingerprint"), cache.manifest.corpus.fingerprint
    if own != found:
        raise UsageError(
            f"{run.path} was trained on another corpus than {cache.root} holds\n"
            f"{bullet_list([f'run: {_short(own)}', f'cache: {_short(found)}'])}\n"
            "Give the cache that it was trained on: --cache CACHE",
            kind="stale",
        )


def _check_once(found: Mapping[str, Sequence[RunFolder]]) -> None:
    twice, beside = list[str](), list[str]()
    for text, group in found.items():
        for one, other in pairwise(group):
            if one.seed == other.seed:
                pair = f"{one.path} and {other.path}: {text}, seed {one.seed}"
                (twice if _cache_of(one) == _cache_of(other) else beside).append(pair)
    if beside:
        raise UsageError(
            f"{len(beside)} pair(s) of runs differ in their cache alone\n{bullet_list(beside)}\nReport "
            "those of each cache by themselves, or compare caches: compare-students CACHE... --report "
            "FILE.html",
            kind="options",
        )
    if twice:
        raise UsageError(
            f"{len(twice)} run(s) are given twice\n{bullet_list(twice)}\nGive each once.",
            kind="options",
        )


def _cache_of(run: RunFolder) -> object:
    return run.config.get("cache_sha256")


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:80]}…"

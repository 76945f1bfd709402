"""Blocks of a report from a comparison: its own rows, and what its runs' folders have."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from cache_schema.reader import Cache
from cache_schema.text import one_line
from student.compare.conditions import NONE
from student.compare.runs import Comparison
from student.compare.statistics import mean
from student.compare.table import TableRow
from student.report.blocks import Block, twin_of
from student.report.run_folder import RunFolder, read_run_folder
from student.runs.run_result import RESULT
from student.training.loop import VALIDATION
from student.training.train import TEST


def comparison_blocks(
    comparison: Comparison, rows: Sequence[TableRow], caches: Mapping[str, Cache]
) -> tuple[list[Block], list[str]]:
    """Make a block of each student on each cache, or on the first of several folds.

    Returns
    -------
    blocks : list of Block
    left_out : list of str
        Students whose runs are not here: a ledger knows their scores alone.
    """
    main = [row for row in rows if row.metric == rows[0].metric]
    blocks, left_out = [], []
    for cache, student in dict.fromkeys((row.cache, row.student) for row in main):
        own = [row for row in main if (row.cache, row.student) == (cache, student)]
        name = student if len(caches) == 1 else f"{student} on {cache}"
        place = cache if cache in caches else next(iter(caches))
        runs = _run_folders(comparison, place, student, own)
        if not runs:
            left_out.append(f"{one_line(name)}: its runs are in the ledger alone")
            continue
        learned = _best(runs)
        shown = runs[learned][0]
        blocks.append(
            Block(name, TEST, own, runs, learned, shown, twin_of(shown, runs), caches[place])
        )
    return blocks, left_out


def _run_folders(
    comparison: Comparison, cache: str, student: str, rows: Sequence[TableRow]
) -> dict[str, list[RunFolder]]:
    """Finished runs by their condition, of its chosen alternative alone."""
    found: dict[str, list[RunFolder]] = {}
    for row in rows:
        for run in comparison.seeds_of(cache, student, row.chosen[0]) if row.chosen else ():
            folder = comparison.folder(run)
            if (folder / RESULT).is_file():
                found.setdefault(str(row.condition), []).append(read_run_folder(folder))
    return found


def _best(runs: Mapping[str, Sequence[RunFolder]]) -> str:
    """Condition of the highest mean score on validation; ``none`` only where nothing else is there.

    The test split chooses nothing.
    """
    taught = [text for text in runs if text != NONE] or list(runs)
    return max(taught, key=lambda text: mean([_validation(run) for run in runs[text]]))


def _validation(run: RunFolder) -> float:
    score = run.result["splits"].get(VALIDATION, {}).get("score")
    return 0.0 if score is None else float(score)


def comparison_command(
    comparison: Comparison, folds: bool, ledger: Path | None, report: Path, png: Path | None
) -> str:
    """Write the command that makes a comparison and its report."""
    words = ["compare-students", *map(str, comparison.caches.values())]
    for student in comparison.students:
        words += ["--student", student]
    for condition in comparison.conditions:
        words += ["--condition", str(condition)]
    words += ["--seeds", str(comparison.seeds), "--out", str(comparison.out)]
    words += ["--train", shlex.join(comparison.train)] if comparison.train else []
    words += ["--halving", str(comparison.halving)] if comparison.halving else []
    words += ["--folds"] if folds else []
    words += ["--ledger", str(ledger)] if ledger else []
    words += ["--png", str(png)] if png else []
    return shlex.join([*words, "--report", str(report)])

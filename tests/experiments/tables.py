"""Write the tables of the experiments' page from their ledgers.

    python tests/experiments/tables.py [--check]

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``. With ``--check`` nothing is
written, and exit code 1 means that a table is not what the ledgers hold.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import recipes
from ladders import ALL_LABELS, EXPERIMENTS, Experiment, comparison_of

from student.compare.conditions import NONE
from student.compare.ledger import Ledger
from student.compare.runs import Comparison, Run
from student.compare.table import (
    TableRow,
    interval_text,
    markdown,
    points,
    spread_text,
    summary,
    table_rows,
)

HERE = Path(__file__).resolve().parent
PAGES = (HERE / "README.md", HERE.parents[1] / "README.md")
TABLE = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
BALANCE = "--labelled-share 0.5 --epochs 32"
"""Half of each batch is labelled; as many steps as 48 epochs with the labels' own share of a quarter."""
SHARES = {"labels-5": "5 %", "labels-25": "25 %", ALL_LABELS: "all"}
LAST = 0.2
"""Share of a training that is its end, where a validation curve should not rise any more."""


def recipe_table() -> str:
    """Every candidate of the search for recipes that has been tried, by validation alone."""
    head = "| student | options | best validation | at epoch | rise at the end | minutes |\n"
    return head + "| --- | --- | --- | --- | --- | --- |\n" + "".join(_candidates())


def _candidates() -> Iterator[str]:
    ledger = Ledger(recipes.LEDGER)
    for student, candidates in recipes.CANDIDATES.items():
        for train in candidates:
            comparison = comparison_of(("2s",), [student], ["none"], recipes.SEEDS, train)
            run = Run("2s", student, "none", 0)
            line = ledger.of_cache(run.cache, comparison.settings(run))
            if line is not None:
                curve = line["curves"]["validation_accuracy"]
                cells = [f"`{student}`", f"`{train}`", f"{100 * max(curve):.1f}"]
                cells += [
                    f"{1 + curve.index(max(curve))} of {len(curve)}",
                    f"{late_rise(curve):+.1f}",
                ]
                yield f"| {' | '.join(cells)} | {line['seconds'] / 60:.0f} |\n"


def late_rise(curve: list[float]) -> float:
    """Points by which the best of a curve's last fifth exceeds the best of what came before."""
    last = max(1, round(LAST * len(curve)))
    before = curve[:-last] or curve[:1]
    return 100 * (max(curve[-last:]) - max(before))


def ladder_table(name: str) -> str:
    """What ``compare-students`` would print of an experiment, as far as the ledger has its runs."""
    experiment = EXPERIMENTS[name]
    folds = bool(experiment.config.get("folds"))
    return _table(experiment.comparison(), experiment.results_found(), folds=folds)


def choices_table(*names: str) -> str:
    """Write what validation says of each run of some experiments; test stands beside it."""
    head = "| cache | student | learned from | seed | best validation | at epoch | test |\n"
    lines = dict.fromkeys(line for name in names for line in _choices(EXPERIMENTS[name]))
    return head + "| --- | --- | --- | --- | --- | --- | --- |\n" + "".join(lines)


def _choices(experiment: Experiment) -> Iterator[str]:
    for run, line in experiment.lines_found().items():
        if line is not None:
            curve = line["curves"]["validation_accuracy"]
            test = line["result"]["splits"]["test"]["score"]
            cells = [run.cache, f"`{run.student}`", f"`{run.alternative}`", str(run.seed)]
            cells += [f"{100 * max(curve):.1f}", f"{1 + curve.index(max(curve))} of {len(curve)}"]
            yield f"| {' | '.join(cells)} | {100 * test:.1f} |\n"


def worth_table() -> str:
    """How many labels a teacher is worth: a line for each share and student, a column for each way."""
    experiment = EXPERIMENTS["labels"]
    comparison = experiment.comparison()
    rows = table_rows(comparison, experiment.results_found(), ["accuracy"], folds=False)
    head = ["labels", "student", *(f"`{one}`" for one in comparison.conditions), "teacher"]
    lines, size = [head, ["---"] * len(head)], len(comparison.conditions)
    for first in range(0, len(rows), size):
        line = rows[first : first + size]
        if any(row.found for row in line):
            cells = [spread_text(row) + _gain(row) for row in line]
            teachers = dict.fromkeys(points(row.teacher, row.metric) for row in line if row.found)
            lines.append(
                [SHARES[line[0].cache], f"`{line[0].student}`", *cells, ", ".join(teachers)]
            )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _gain(row: TableRow) -> str:
    return f": {interval_text(row.gain, row.metric)}" if row.gain is not None else ""


def balance_table() -> str:
    """Distilled with as many labelled clips as others in each batch, beside the student alone."""
    experiment = EXPERIMENTS["labels"]
    conditions = experiment.config["condition"]
    comparison = comparison_of(("labels-25",), ["tc-resnet"], conditions, 3, BALANCE)
    found = {
        run: result
        for run, result in experiment.results_found().items()
        if run in comparison.runs() and run.alternative == NONE
    }
    for run in comparison.runs():
        if run.alternative != NONE:
            line = experiment.ledger.of_cache(run.cache, comparison.settings(run))
            found[run] = None if line is None else line["result"]
    return _table(comparison, found)


def _table(
    comparison: Comparison, found: dict[Run, dict[str, Any] | None], *, folds: bool = False
) -> str:
    known = [result for result in found.values() if result is not None]
    if not known:
        return "No run is in the ledger yet.\n"
    rows = table_rows(comparison, found, [known[0]["metric"]], folds=folds)
    rows = [row for row in rows if row.found]
    return markdown(rows) + "".join(f"\n* {line}" for line in summary(rows)) + "\n"


TABLES: dict[str, Callable[[], str]] = {
    "recipes": recipe_table,
    "balance": balance_table,
    "worth": worth_table,
    "choices": partial(choices_table, "sharpen", "temporal", "evidence", "targets"),
    **{name: partial(ladder_table, name) for name in EXPERIMENTS},
}


def filled(text: str) -> str:
    """Put every table of a page anew."""
    return TABLE.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


if __name__ == "__main__":
    check, stale = "--check" in sys.argv[1:], []
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = filled(before)
        if after != before:
            stale.append(page.name)
            if not check:
                page.write_text(after, encoding="utf-8")
    if check and stale:
        sys.exit(
            f"not what the ledgers hold: {', '.join(stale)}; python tests/experiments/tables.py"
        )

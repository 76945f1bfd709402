"""``compare-students``: a ladder of distillation over caches, students and seeds."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import click

from cache_schema.command_line.command import Command
from cache_schema.errors import RunError, UsageError
from cache_schema.limits import MAX_PROCESSES
from cache_schema.own_folder import check_own_folder
from cache_schema.paths import LocalPath, OutputPath
from cache_schema.plugins import plugin_names
from cache_schema.reader import Cache, open_cache
from cache_schema.store.files import write_atomic
from cache_schema.store.lock import write_lock
from cache_schema.store.safe_open import check_no_links
from cache_schema.terminal import echo
from student.compare.conditions import LADDER, Condition, parse_condition, supported_conditions
from student.compare.known_runs import KnownRuns
from student.compare.ledger import Ledger
from student.compare.plan import cost_table
from student.compare.processes import log_of, run_jobs
from student.compare.runs import Comparison, RunJob, cache_names, check_comparison
from student.compare.table import (
    csv_table,
    markdown,
    metrics_shown,
    row_document,
    summary,
    table_rows,
)
from student.metrics import MAIN_METRIC
from student.models import STUDENTS
from student.training.determinism import prepare_torch
from student.training.train import corpus_warnings

DOCUMENT = "comparison.json"
TAIL_LINES = 5
MAX_SEEDS = 1000


@click.command("compare-students", cls=Command)
@click.argument("caches", nargs=-1, required=True, type=LocalPath())
@click.option(
    "--student",
    "students",
    required=True,
    multiple=True,
    metavar="NAME[:option=value,...]",
    help=f"Repeatable: {', '.join(plugin_names(STUDENTS, 'student'))}.",
)
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    metavar="'LOSS=WEIGHT[:...] ... [label=W] [| ...]'",
    help="What students learn from beside the labels, repeatable: none, or losses as --distill takes "
    "them, separated by spaces, with the label weight of a sum that is not convex. Of alternatives "
    f"separated by | validation chooses one. Default, as far as caches serve it: {'; '.join(LADDER)}.",
)
@click.option("--seeds", type=click.IntRange(1, MAX_SEEDS), default=3, show_default=True)
@click.option(
    "--train",
    default="",
    metavar="'--epochs 10 ...'",
    help="Options of train-student for all runs alike.",
)
@click.option("--out", required=True, type=OutputPath(), help="Folder of runs and tables.")
@click.option(
    "--folds", is_flag=True, help="The caches are folds of one corpus: one block in the table."
)
@click.option(
    "--jobs",
    type=click.IntRange(1, MAX_PROCESSES),
    help="Trainings at once, a core each. Default: all cores.",
)
@click.option(
    "--ledger",
    type=OutputPath(dir_okay=False),
    help="File of finished runs, a JSON line each: what is there is not trained again, wherever it "
    "was trained; what ends is added.",
)
@click.option("--plan", is_flag=True, help="Measure and show the cost, write nothing.")
def main(
    caches: tuple[Path, ...],
    students: tuple[str, ...],
    conditions: tuple[str, ...],
    seeds: int,
    train: str,
    out: Path,
    folds: bool,
    jobs: int | None,
    ledger: Path | None,
    plan: bool,
) -> None:
    """Train every student on every CACHE with each condition and seed, and compare on the test split.

    Killed at any moment, the same command continues. The test split is read by what is chosen alone.
    """
    prepare_torch(1)
    jobs = jobs or os.cpu_count() or 1
    named = cache_names(caches)
    opened = {name: open_cache(path) for name, path in named.items()}
    ladder = _ladder(conditions, opened)
    comparison = Comparison(
        out, named, tuple(dict.fromkeys(students)), ladder, seeds, _words(train)
    )
    check_no_links(out, "comparison", error=RunError)
    check_comparison(comparison, opened, folds=folds)
    for warning in [line for cache in opened.values() for line in corpus_warnings(cache)]:
        echo(f"warning: {warning}")
    known = KnownRuns(comparison, opened, Ledger(ledger) if ledger else None)
    if plan:
        for line in cost_table(comparison, opened, known.results, jobs):
            echo(line)
        return
    with write_lock(out):
        check_own_folder(out, "comparison", "compare-students", (DOCUMENT,))
        ComparisonRunner(comparison, opened, known, folds=folds).run(jobs)


def _words(text: str) -> tuple[str, ...]:
    """Split the options of ``train-student`` as a shell does."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(
            f"--train {text!r} is no list of options: {error}", kind="options"
        ) from None


def _ladder(texts: tuple[str, ...], caches: dict[str, Cache]) -> tuple[Condition, ...]:
    """Read the conditions, each once; of the usual ones those that the caches can serve."""
    if texts:
        return tuple(dict.fromkeys(map(parse_condition, texts)))
    conditions, left_out = supported_conditions(LADDER, caches.values())
    for condition, reason in left_out.items():
        echo(f"left out {condition}: {reason}")
    return tuple(conditions)


class ComparisonRunner:
    """A comparison under way: what is known of its runs, and its tables."""

    def __init__(
        self, comparison: Comparison, caches: dict[str, Cache], known: KnownRuns, *, folds: bool
    ) -> None:
        self.comparison, self.known, self.folds = comparison, known, folds
        self.results = known.results
        first = next(iter(caches.values()))
        metric = comparison.settings(comparison.runs()[0]).metric or MAIN_METRIC[first.task]
        self.metrics = metrics_shown(first.task, metric)
        self.failures: list[RunJob] = []

    def run(self, jobs: int) -> None:
        """Do what is left, and report the results.

        Raises
        ------
        RunError
            If a run failed, after all others are done.
        """
        self.known.update_ledger()
        done = sum(result is not None for result in self.results.values())
        echo(f"{len(self.results)} runs, {done} of them trained; {jobs} at once")
        self._write()
        run_jobs(self.comparison, self._outstanding, jobs, self._end)
        for line in self._write():
            echo(line)
        echo(f"{self.comparison.out / 'table.md'}")
        if self.failures:
            details = "\n".join(self._failure_text(job) for job in self.failures)
            raise RunError(
                f"{len(self.failures)} run(s) failed; the others are done, but for choices that "
                f"wait for them\n{details}\n"
                "Repeat the command to try them again.",
                kind="failed",
            )

    def _outstanding(self) -> list[RunJob]:
        return self.comparison.outstanding(self.results)

    def _end(self, job: RunJob, code: int) -> None:
        """Take up what a process left, and report it."""
        result = self.known.refresh(job.run)
        if code or result is None:
            self.failures.append(job)
            echo(f"{job.run}: failed (exit code {code})")
            return
        scores = [f"{split} {entry['score']}" for split, entry in result["splits"].items()]
        trained = sum(found is not None for found in self.results.values())
        echo(f"[{trained}/{len(self.results)}] {job.run}: {', '.join(scores)}")
        self._write()

    def _write(self) -> list[str]:
        """Write all tables anew; gives the summary's lines."""
        rows = table_rows(self.comparison, self.results, self.metrics, folds=self.folds)
        lines = summary(rows)
        document = {
            "caches": {name: str(path) for name, path in self.comparison.caches.items()},
            "seeds": self.comparison.seeds,
            "train": shlex.join(self.comparison.train),
            "folds": self.folds,
            "rows": [row_document(row) for row in rows],
            "summary": lines,
        }
        text = markdown(rows) + "".join(f"\n* {line}" for line in lines) + "\n"
        out = self.comparison.out
        write_atomic(out / DOCUMENT, json.dumps(document, indent=1).encode() + b"\n")
        write_atomic(out / "table.md", text.encode())
        write_atomic(out / "table.csv", csv_table(rows).encode())
        return lines

    def _failure_text(self, job: RunJob) -> str:
        """Give the last lines of a failed run's log."""
        log = log_of(self.comparison, job)
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join([f"  - {job.run}, see {log}:", *(f"      {line}" for line in last)])

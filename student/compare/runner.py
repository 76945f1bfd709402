"""A comparison under way: it runs what is left and writes the tables anew after each run."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Sequence
from itertools import starmap

from cache_schema.errors import RunError
from cache_schema.reader import Cache
from cache_schema.store.files import write_atomic
from cache_schema.terminal import echo
from cache_schema.text import markdown as markdown_text
from student.compare.known_runs import KnownRuns
from student.compare.processes import log_of, run_jobs
from student.compare.row_cautions import row_cautions
from student.compare.runs import Comparison
from student.compare.selection import RunJob, Selection
from student.compare.table import (
    TableRow,
    csv_table,
    markdown,
    metrics_shown,
    row_document,
    search_lines,
    summary,
    table_rows,
)
from student.metrics import MAIN_METRIC
from student.metrics.chance import cache_chance
from student.training.cli import score_text
from student.training.train import TEST

DOCUMENT, MARKDOWN, CSV = TABLES = ("comparison.json", "table.md", "table.csv")
TAIL_LINES = 5


class ComparisonRunner:
    """A comparison under way: what is known of its runs, and its tables."""

    def __init__(
        self, comparison: Comparison, caches: dict[str, Cache], known: KnownRuns, *, folds: bool
    ) -> None:
        self.comparison, self.known, self.folds = comparison, known, folds
        self.results = known.results
        self.selection = Selection(comparison, self.results)
        first = next(iter(caches.values()))
        metric = comparison.settings(comparison.runs()[0]).metric or MAIN_METRIC[first.task]
        self.metrics = metrics_shown(first.task, metric)
        self.chance = {
            name: cache_chance(cache, TEST, self.metrics) for name, cache in caches.items()
        }
        self.failures: dict[RunJob, int] = {}

    def run(self, jobs: int, gpus: Sequence[str] = ()) -> None:
        """Do what is left, so many at once, divided among GPUs where some are named; report it.

        Raises
        ------
        RunError
            If a run failed, after all others are done.
        """
        self.known.update_ledger()
        done, count = self._counts()
        echo(f"{count} runs, {done} of them trained; {jobs} at once")
        self._write()
        run_jobs(self.comparison, self.selection.outstanding, jobs, self._end, gpus)
        lines = self._write()
        for warning in row_cautions(self.rows()):
            echo(f"warning: {warning}")
        for line in lines:
            echo(line)
        echo(f"{self.comparison.out / MARKDOWN}")
        if self.failures:
            details = "\n".join(starmap(self._failure_text, self.failures.items()))
            raise RunError(
                f"{len(self.failures)} run(s) failed; the others are done, but for choices that "
                f"wait for them\n{details}\n"
                "Repeat the command to try them again.",
                kind="failed",
            )

    def _counts(self) -> tuple[int, int]:
        """Runs that are trained, and all that there will be."""
        needed = self.selection.needed()
        done = sum(self.results[run] is not None for run in needed)
        return done, len(needed) + len(self.selection.to_come())

    def _end(self, job: RunJob, code: int) -> None:
        """Take up what a process left, and report it."""
        result = self.known.refresh(job.run)
        if code or result is None:
            self.failures[job] = code
            echo(f"{job.run}: failed ({_ended(code)})")
            return
        scores = [
            f"{split} {score_text(entry['score'])}" for split, entry in result["splits"].items()
        ]
        done, count = self._counts()
        echo(f"[{done}/{count}] {job.run}: {', '.join(scores)}")
        self._write()

    def rows(self) -> list[TableRow]:
        """Rows of the tables by what is known so far."""
        return table_rows(
            self.comparison, self.results, self.metrics, folds=self.folds, chance=self.chance
        )

    def _write(self) -> list[str]:
        """Write all tables anew; gives the summary's lines."""
        rows = self.rows()
        lines = [*search_lines(self.selection), *summary(rows)]
        document = {
            "caches": {name: str(path) for name, path in self.comparison.caches.items()},
            "seeds": self.comparison.seeds,
            "train": shlex.join(self.comparison.train),
            "halving": self.comparison.halving,
            "folds": self.folds,
            "rows": [row_document(row) for row in rows],
            "summary": lines,
        }
        text = markdown(rows) + "".join(f"\n* {markdown_text(line)}" for line in lines) + "\n"
        out = self.comparison.out
        write_atomic(out / DOCUMENT, json.dumps(document, indent=1).encode() + b"\n")
        write_atomic(out / MARKDOWN, text.encode())
        write_atomic(out / CSV, csv_table(rows).encode())
        return lines

    def _failure_text(self, job: RunJob, code: int) -> str:
        """Give the last lines of a failed run's log; one that was killed has none to say why."""
        log = log_of(self.comparison, job)
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        what = f"  - {job.run}, {_ended(code)}, see {log}{':' * bool(last)}"
        return "\n".join([what, *(f"      {line}" for line in last)])


def _ended(code: int) -> str:
    """How a process ended."""
    if code >= 0:
        return f"exit code {code}"
    cause = ", as by want of memory" if -code == signal.SIGKILL else ""
    return f"killed by {signal.Signals(-code).name}{cause}"

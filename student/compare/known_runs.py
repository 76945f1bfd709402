"""What is known of a comparison's runs: from their folders, and from a ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cache_schema.reader import Cache
from cache_schema.store.safe_open import read_plain
from student.compare.ledger import Ledger, ledger_line, run_facts, run_key
from student.compare.runs import Comparison, Run
from student.training.loop import METRIC_LINES


class KnownRuns:
    """Results of the runs that are finished, here or wherever the ledger's lines come from.

    Attributes
    ----------
    results : dict of Run to (dict or None)
        Content of ``result.json``; None for a run that is not finished.
    """

    def __init__(
        self, comparison: Comparison, caches: Mapping[str, Cache], ledger: Ledger | None
    ) -> None:
        self.comparison, self.caches, self.ledger = comparison, caches, ledger
        self.facts: dict[Run, dict[str, Any]] = {}
        if ledger is not None:
            self.facts = {
                run: run_facts(caches[run.cache], comparison.settings(run))
                for run in comparison.runs()
            }
        self.results: dict[Run, dict[str, Any] | None] = {
            run: self._result(run) for run in comparison.runs()
        }

    def refresh(self, run: Run) -> dict[str, Any] | None:
        """Take up, and write down, what a process left of a run; None where it did not finish."""
        self.results[run] = self.comparison.result(run)
        self._write(run)
        return self.results[run]

    def update_ledger(self) -> None:
        """Bring finished folders that the ledger lacks into it."""
        for run in self.results:
            self._write(run)

    def _result(self, run: Run) -> dict[str, Any] | None:
        """Of the folder and the ledger whichever has more splits scored, the folder first."""
        here = self.comparison.result(run)
        there = self.ledger.result(run_key(self.facts[run])) if self.ledger else None
        found = [result for result in (here, there) if result is not None]
        return max(found, key=lambda result: len(result["splits"]), default=None)

    def _write(self, run: Run) -> None:
        result = self.comparison.result(run)
        if self.ledger is None or result is None or result != self.results[run]:
            return
        lines = read_plain(self.comparison.folder(run) / METRIC_LINES)
        history = [json.loads(line) for line in lines.splitlines()]
        self.ledger.add(
            ledger_line(run.cache, self.caches[run.cache], self.facts[run], result, history)
        )

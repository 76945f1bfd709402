"""What validation chooses: which alternatives go on, what is left to do, what is tested."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from student.compare.halving import Rung, best
from student.compare.runs import Cell, Comparison, Results, Run
from student.compare.statistics import mean
from student.training.loop import VALIDATION
from student.training.train import HELD_OUT


@dataclass(frozen=True, slots=True)
class RunJob:
    """A run with the splits that it is to be scored on."""

    run: Run
    score_on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """A comparison as far as its results choose; nothing is chosen by the test split."""

    comparison: Comparison
    results: Results

    def kept(self, cell: Cell) -> list[tuple[str, ...]]:
        """Alternatives of each round of a cell as far as validation has chosen them, then its choice.

        A choice is made once all runs that it depends on are done, by the mean over their seeds; the
        first of equals.
        """
        found, planned = [cell[2].alternatives], self.comparison.rungs(cell)
        following = [*(rung.candidates for rung in planned[1:]), 1]
        for rung, count in zip(planned, following, strict=True):
            if len(found[-1]) > count:
                scores = self.scores(cell, found[-1], rung)
                if len(scores) < len(found[-1]):
                    break
                found.append(best(scores, count))
            else:
                found.append(found[-1])
        return found

    def scores(self, cell: Cell, alternatives: Iterable[str], rung: Rung) -> dict[str, float]:
        """Mean validation score of each alternative whose runs of a round are all done."""
        found = {}
        for one in alternatives:
            runs = self.comparison.seeds_of(*cell[:2], one, rung.epochs)
            several = [self.results[run] for run in runs]
            if all(several):
                found[one] = mean([_validation(result) for result in several])
        return found

    def choices(self) -> dict[Cell, str]:
        """Alternative of each cell: its only one, or validation's choice where it is made."""
        kept = {cell: self.kept(cell) for cell in self.comparison.cells}
        rounds = {cell: len(self.comparison.rungs(cell)) for cell in kept}
        return {cell: found[-1][0] for cell, found in kept.items() if len(found) > rounds[cell]}

    def needed(self) -> list[Run]:
        """Runs that are to be done as far as validation has chosen, each once, seed by seed."""
        rounds = [
            (cell, rung, alternatives)
            for cell in self.comparison.cells
            for rung, alternatives in zip(
                self.comparison.rungs(cell), self.kept(cell), strict=False
            )
        ]
        return self.comparison.seed_by_seed(rounds)

    def to_come(self) -> list[Run]:
        """Stand-ins for the runs of rounds that validation has not chosen for yet."""
        rounds = []
        for cell in self.comparison.cells:
            known = self.kept(cell)
            later = self.comparison.rungs(cell)[len(known) :]
            rounds += [(cell, rung, known[-1][: rung.candidates]) for rung in later]
        return self.comparison.seed_by_seed(rounds)

    def outstanding(self) -> list[RunJob]:
        """What is left to do: trainings, and the test scores of what is chosen."""
        chosen = {(c, s, one) for (c, s, _), one in self.choices().items()}
        jobs = []
        for run in self.needed():
            own = (run.cache, run.student, run.alternative)
            read_test = run.epochs is None and own in chosen
            score_on = HELD_OUT if read_test else (VALIDATION,)
            result = self.results[run]
            # The last of them is what counts: a cache may have no validation split to score.
            if result is None or score_on[-1] not in result["splits"]:
                jobs.append(RunJob(run, score_on))
        return jobs


def _validation(result: dict[str, Any] | None) -> float:
    """Validation score of a finished run; below all others where it has none."""
    score = result["splits"].get(VALIDATION, {}).get("score") if result else None
    return float("-inf") if score is None else float(score)

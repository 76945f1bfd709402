"""Results as rows, and rows as Markdown, CSV, JSON and sentences."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.text import csv_text, markdown_code
from cache_schema.text import markdown as markdown_text
from student.compare.conditions import NONE, Condition
from student.compare.runs import Comparison, Results, Run
from student.compare.selection import Selection
from student.compare.statistics import Paired, mean, paired, paired_by_clip, standard_deviation
from student.metrics import is_share
from student.runs.run_result import STEPS
from student.training.train import TEST

MORE_METRICS = ("micro-auprc-sonyc", "macro-auprc-sonyc")
CLIPWISE = "accuracy"  # the metric that is a mean over clips that are right or wrong
ABSENT = "-"


@dataclass(frozen=True, slots=True)
class TableRow:
    """A condition of a student on a cache, or on the folds of a corpus, by one metric.

    Attributes
    ----------
    cache, student : str
    condition : Condition
    chosen : tuple of str
        The alternative taken in each cache; empty before validation has chosen in all of them.
    metric : str
    scores : tuple of (float or None)
        On the test split, of each cache and in it of each seed; None where missing.
    teacher : float or None
        Mean over the caches of the teacher's score on the same clips.
    gain : Paired or None
        Over ``none`` in the same cache with the same seed, where both are there; of accuracies in one
        cache the interval counts clips as well as seeds.
    chance : float or None
        What answers that know nothing of the clips would score: mean over the caches; None if unknown.
    steps : float or None
        Mean of the updates that its trainings took; None where a result of an earlier version is among
        them.
    """

    cache: str
    student: str
    condition: Condition
    chosen: tuple[str, ...]
    metric: str
    scores: tuple[float | None, ...]
    teacher: float | None
    gain: Paired | None
    chance: float | None = None
    steps: float | None = None

    @property
    def found(self) -> list[float]:
        """Scores that are there."""
        return [score for score in self.scores if score is not None]


def metrics_shown(task: str, metric: str) -> list[str]:
    """Metrics of a table, the one that picks epochs first."""
    return list(dict.fromkeys([metric, *(MORE_METRICS if task == "multi" else ())]))


Chance = Mapping[str, Mapping[str, float | None]]  # by cache and metric


def table_rows(
    comparison: Comparison,
    results: Results,
    metrics: Sequence[str],
    *,
    folds: bool,
    chance: Chance | None = None,
) -> list[TableRow]:
    """Make a row per block, student, condition and metric; `folds` makes one block of all caches."""
    names = list(comparison.caches)
    blocks = {f"{len(names)} folds": names} if folds else {name: [name] for name in names}
    choices = Selection(comparison, results).choices()
    rows = []
    for (label, caches), student in product(blocks.items(), comparison.students):
        plain = _runs(comparison, student, dict.fromkeys(caches, NONE))
        for condition, metric in product(comparison.conditions, metrics):
            taken = {cache: choices.get((cache, student, condition)) for cache in caches}
            runs = _runs(comparison, student, taken)
            chosen = tuple(one for one in taken.values() if one is not None)
            row = table_row(results, label, student, condition, metric, runs, plain)
            known = chosen if len(chosen) == len(caches) else ()
            by_chance = _mean_chance(chance or {}, caches, metric)
            rows.append(replace(row, chosen=known, chance=by_chance))
    return rows


def _mean_chance(chance: Chance, caches: Sequence[str], metric: str) -> float | None:
    """Mean over the caches, where it is known in all of them."""
    found = [chance.get(cache, {}).get(metric) for cache in caches]
    known = [level for level in found if level is not None]
    return mean(known) if len(known) == len(found) else None


Runs = Sequence[Sequence[Run | None]]


def table_row(
    results: Results,
    cache: str,
    student: str,
    condition: Condition,
    metric: str,
    runs: Runs,
    plain: Runs,
) -> TableRow:
    """Make the row of runs that learned alike, cache by cache and seed by seed.

    Parameters
    ----------
    results : mapping
        Of every run.
    cache, student, condition, metric
        As the row has them.
    runs, plain : sequence of sequence of (Run or None)
        Its runs, and those of ``none`` that they are paired with; None where one is missing.
    """
    return TableRow(
        cache=cache,
        student=student,
        condition=condition,
        chosen=condition.alternatives[:1],
        metric=metric,
        scores=_scores(results, runs, metric),
        teacher=_teacher(results, runs, metric),
        gain=None if str(condition) == NONE else _gain(results, runs, plain, metric),
        steps=_steps(results, runs),
    )


def _runs(comparison: Comparison, student: str, taken: Mapping[str, str | None]) -> Runs:
    """Runs of each cache; None for each seed where validation has chosen no alternative yet."""
    return [
        [None] * comparison.seeds if one is None else comparison.seeds_of(cache, student, one)
        for cache, one in taken.items()
    ]


def _scores(results: Results, runs: Runs, metric: str) -> tuple[float | None, ...]:
    return tuple(_test(results, run, "scores", metric) for several in runs for run in several)


def _teacher(results: Results, runs: Runs, metric: str) -> float | None:
    """Mean over the caches, once it is known in all of them; it is the same for each seed."""
    found = [[_test(results, run, "teacher_scores", metric) for run in cell] for cell in runs]
    of_caches = [next((score for score in cell if score is not None), None) for cell in found]
    known = [score for score in of_caches if score is not None]
    return mean(known) if len(known) == len(runs) else None


def _test(results: Results, run: Run | None, whose: str, metric: str) -> float | None:
    """One test score of a run; None where it has none (yet)."""
    result = results.get(run) if run else None
    splits = result["splits"] if result else {}
    score = (splits.get(TEST, {}).get(whose) or {}).get(metric)
    # A d' of perfect rankings is infinite, and has no mean with others.
    return None if score is None or not math.isfinite(float(score)) else float(score)


def _steps(results: Results, runs: Runs) -> float | None:
    """Mean over the finished runs, once it is known of all of them."""
    finished = [result for run in _each(runs) if run and (result := results.get(run))]
    known = [int(result[STEPS]) for result in finished if result.get(STEPS)]
    return mean(known) if known and len(known) == len(finished) else None


def _gain(results: Results, runs: Runs, plain: Runs, metric: str) -> Paired | None:
    """Compare with ``none``: clip by clip where one cache's clips are right or wrong, else by scores."""
    ours, theirs, scores = list[Run | None](), list[Run | None](), list[tuple[float, float]]()
    for run, alone in zip(_each(runs), _each(plain), strict=True):
        own, other = (_test(results, one, "scores", metric) for one in (run, alone))
        if own is not None and other is not None:
            ours.append(run)
            theirs.append(alone)
            scores.append((own, other))
    if not scores:
        return None
    right_SN, plain_SN = _right(results, ours), _right(results, theirs)
    if metric == CLIPWISE and len(runs) == 1 and right_SN is not None and plain_SN is not None:
        return paired_by_clip(right_SN, plain_SN)
    return paired(*zip(*scores, strict=True))


def _each(runs: Runs) -> list[Run | None]:
    return [run for several in runs for run in several]


def _right(results: Results, runs: Sequence[Run | None]) -> NDArray[np.bool_] | None:
    """Which test clips each run has right, (S, N), if every result has them for equally many clips."""
    splits = [(results.get(run) or {"splits": {}})["splits"].get(TEST, {}) for run in runs if run]
    if not all("right" in split for split in splits) or len({s["clips"] for s in splits}) != 1:
        return None
    packed = [np.frombuffer(bytes.fromhex(split["right"]), np.uint8) for split in splits]
    return np.unpackbits(np.stack(packed), axis=1)[:, : splits[0]["clips"]].astype(np.bool_)


def markdown(rows: Sequence[TableRow]) -> str:
    """Lay out one line for each condition: its main metric with all figures, the others beside it."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    main, more = metrics[0], metrics[1:]
    head = ["cache", "student", "learned from", f"test {main}, mean ± sd", "each seed"]
    head += ["gain over none [95 %]", "wins", "teacher"]
    with_chance = any(row.chance is not None for row in rows if row.metric == main)
    head += ["by chance"] if with_chance else []
    head += more
    lines = [head, ["---"] * len(head)]
    for row in rows[:: len(metrics)]:
        others = [r for r in rows if r.metric != main and _cell(r) == _cell(row)]
        by_chance = [points(row.chance, main)] if with_chance else []
        lines.append([*_figures(row), *by_chance, *map(spread_text, others)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(row: TableRow) -> tuple[str, str, Condition]:
    return row.cache, row.student, row.condition


def _figures(row: TableRow) -> list[str]:
    each = ", ".join(points(score, row.metric) for score in row.scores)
    gain = wins = "" if str(row.condition) == NONE else ABSENT
    if row.gain is not None:
        gain, wins = interval_text(row.gain, row.metric), f"{row.gain.wins}/{_pairs(row.gain)}"
    learned = learned_from(row)
    teacher = points(row.teacher, row.metric)
    return [
        markdown_text(row.cache),
        markdown_code(row.student),
        learned,
        spread_text(row),
        each,
        gain,
        wins,
        teacher,
    ]


def learned_from(row: TableRow) -> str:
    """Name the condition, and where validation chooses, what it chose."""
    several = [markdown_code(piece) for piece in row.condition.pieces]
    if len(row.condition.alternatives) == 1:
        return several[0]
    if not row.chosen:
        return f"{' or '.join(several)}: not chosen yet"
    counts = Counter(row.chosen)
    names = [markdown_code(a) + (f" ×{n}" if len(counts) > 1 else "") for a, n in counts.items()]
    return f"{', '.join(names)}, chosen on validation"


def spread_text(row: TableRow) -> str:
    """Mean, standard deviation, and how many runs of all are there."""
    found = row.found
    if not found:
        return ABSENT
    text = points(mean(found), row.metric)
    spread = standard_deviation(found)
    if spread is not None:
        text += f" ± {points(spread, row.metric)}"
    return text if len(found) == len(row.scores) else f"{text} ({len(found)} of {len(row.scores)})"


def interval_text(gain: Paired, metric: str) -> str:
    """Mean difference, and its interval where there is one."""
    text = points(gain.mean, metric, signed=True)
    if gain.half_width is None:
        return text
    ends = (gain.mean - gain.half_width, gain.mean + gain.half_width)
    return f"{text} [{', '.join(points(end, metric, signed=True) for end in ends)}]"


def _pairs(gain: Paired) -> int:
    return len(gain.differences)


def points(score: float | None, metric: str, *, signed: bool = False) -> str:
    """Write a share as points of a hundred, and what is none as it is."""
    if score is None or math.isnan(score):
        return ABSENT
    value = round(100 * score if is_share(metric) else score, 1) + 0.0  # no -0.0
    return f"{value:+.1f}" if signed else f"{value:.1f}"


def csv_table(rows: Sequence[TableRow]) -> str:
    """One line for each row, numbers in full, lists joined by spaces."""
    file = io.StringIO()
    documents = [row_document(row) for row in rows]
    writer = csv.DictWriter(file, list(documents[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _flat(value) for key, value in one.items()} for one in documents)
    return file.getvalue()


def _flat(value: Any) -> Any:
    if isinstance(value, str):
        return csv_text(value)
    if isinstance(value, list):
        return " ".join(ABSENT if one is None else str(one) for one in value)
    return value


def row_document(row: TableRow) -> dict[str, Any]:
    """Give everything known of a row, ready for JSON; what is missing is null."""
    gain, half = row.gain, row.gain.half_width if row.gain else None
    return {
        "cache": row.cache,
        "student": row.student,
        "condition": str(row.condition),
        "chosen": " / ".join(dict.fromkeys(row.chosen)) or None,
        "metric": row.metric,
        "mean": mean(row.found) if row.found else None,
        "sd": standard_deviation(row.found),
        "scores": list(row.scores),
        "missing": len(row.scores) - len(row.found),
        "teacher": row.teacher,
        "chance": row.chance,
        "steps": row.steps,
        "gain": gain and gain.mean,
        "gain_low": gain.mean - half if gain and half is not None else None,
        "gain_high": gain.mean + half if gain and half is not None else None,
        "differences": list(gain.differences) if gain else [],
        "wins": gain and gain.wins,
    }


def summary(rows: Sequence[TableRow]) -> list[str]:
    """One sentence for each condition but ``none``, over all its cells, by the main metric."""
    main = [row for row in rows if row.metric == rows[0].metric]
    conditions = dict.fromkeys(row.condition for row in main if str(row.condition) != NONE)
    return [
        _sentence(condition, [row for row in main if row.condition == condition])
        for condition in conditions
    ]


def search_lines(selection: Selection) -> list[str]:
    """One sentence for each finished round of successive halving: which went on, by validation."""
    lines = []
    for cell in selection.comparison.cells:
        rounds, kept = selection.comparison.rungs(cell), selection.kept(cell)
        for rung, candidates, best in zip(rounds[:-1], kept, kept[1:], strict=False):
            scores = selection.scores(cell, best, rung)
            named = ", ".join(f"{one} ({score:.4f})" for one, score in scores.items())
            lines.append(
                f"{cell[0]}, {cell[1]}: {len(best)} of {len(candidates)} alternatives "
                f"went on after {rung.epochs} epoch(s), by validation: {named}"
            )
    return lines


def _shown(gains: Sequence[Paired]) -> str:
    """State what the intervals bear out, and no more."""
    known = [gain for gain in gains if gain.half_width is not None]
    if not known:
        return "no interval: fewer than three pairs"
    above = sum(gain.shown and gain.mean > 0 for gain in known)
    below = sum(gain.shown and gain.mean < 0 for gain in known)
    if not above + below:
        return "no difference shown: every interval contains 0"
    return f"interval above 0 in {above}, below 0 in {below}"


def _sentence(condition: Condition, rows: Sequence[TableRow]) -> str:
    metric = rows[0].metric
    gains = [row.gain for row in rows if row.gain is not None]
    parts = []
    if gains:
        better = sum(gain.mean > 0 for gain in gains)
        unit = " points" if is_share(metric) else ""
        parts.append(f"higher on the mean than none in {better} of {len(gains)} cells")
        parts.append(_shown(gains))
        parts.append(
            f"mean gain {points(mean([g.mean for g in gains]), metric, signed=True)}{unit}"
        )
    pairs = [
        (mean(row.found), row.teacher) for row in rows if row.found and row.teacher is not None
    ]
    if pairs:
        above = sum(own > teacher for own, teacher in pairs)
        parts.append(f"above the teacher in {above} of {len(pairs)} cells")
    missing = sum(len(row.scores) - len(row.found) for row in rows)
    if missing:
        parts.append(f"{missing} of {sum(len(row.scores) for row in rows)} scores missing")
    return f"{condition}: {'; '.join(parts)}"

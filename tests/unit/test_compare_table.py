"""Tables of a comparison, from results as runs leave them."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from student.compare.conditions import parse_condition, parse_losses
from student.compare.halving import rungs
from student.compare.runs import Comparison, Run
from student.compare.selection import RunJob, Selection
from student.compare.table import (
    csv_table,
    markdown,
    metrics_shown,
    row_document,
    search_lines,
    summary,
    table_rows,
)
from student.training.train import HELD_OUT

EITHER = "temporal=0.1 | temporal=0.5"
BOTH = ["accuracy"]


def comparison(
    *conditions: str,
    caches: tuple[str, ...] = ("sc",),
    seeds: int = 3,
    student: str = "tc-resnet",
    epochs: int = 48,
    halving: int | None = None,
) -> Comparison:
    named, read = {name: Path(f"{name}.zarr") for name in caches}, map(parse_condition, conditions)
    train = ("--epochs", str(epochs))
    return Comparison(Path("out"), named, (student,), tuple(read), seeds, train, halving)


def result(test: float | None, validation: float = 0.5, **more: float) -> dict[str, Any]:
    """What a run leaves; without a test score only validation was read."""
    splits: dict[str, Any] = {"validation": {"score": validation, "scores": {}}}
    if test is not None:
        scores = {"accuracy": test, "mAP": test, **more}
        taught = {"accuracy": 0.9, "mAP": 0.9}
        splits["test"] = {"score": test, "scores": scores, "teacher_scores": taught}
    return {"metric": "accuracy", "splits": splits}


def results(
    plan: Comparison, scores: dict[str, list[float | None]], cache: str = "sc"
) -> dict[Run, dict[str, Any] | None]:
    """Test scores of seeds 0, 1, ... by alternative; the rest is missing."""
    found: dict[Run, dict[str, Any] | None] = dict.fromkeys(plan.runs())
    for alternative, values in scores.items():
        for seed, value in enumerate(values):
            if value is not None:
                found[Run(cache, plan.students[0], alternative, seed)] = result(value)
    return found


def test_a_condition_is_compared_with_none_seed_by_seed() -> None:
    plan = comparison("none", "temporal=0.1")
    found = results(plan, {"none": [0.81, 0.80, 0.79], "temporal=0.1": [0.82, 0.82, 0.82]})
    rows = table_rows(plan, found, BOTH, folds=False)
    # Differences 1, 2, 3 points: 2 ± 4.30265 * 1 / sqrt(3).
    assert markdown(rows) == (
        "| cache | student | learned from | test accuracy, mean ± sd | each seed "
        "| gain over none [95 %] | wins | teacher |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| sc | `tc-resnet` | `none` | 80.0 ± 1.0 | 81.0, 80.0, 79.0 |  |  | 90.0 |\n"
        "| sc | `tc-resnet` | `temporal=0.1` | 82.0 ± 0.0 | 82.0, 82.0, 82.0 "
        "| +2.0 [-0.5, +4.5] | 3/3 | 90.0 |\n"
    )
    (line,) = summary(rows)
    assert line == (
        "temporal=0.1: higher on the mean than none in 1 of 1 cells; no difference shown: every "
        "interval contains 0; mean gain +2.0 points; above the teacher in 0 of 1 cells"
    )


def with_bits(plan: Comparison, alternative: str, right: list[list[int]]) -> dict[Run, Any]:
    """Results that keep which clips were right."""
    found = results(plan, {alternative: [sum(bits) / len(bits) for bits in right]})
    for run, bits in zip(plan.seeds_of("sc", "tc-resnet", alternative), right, strict=True):
        split = found[run]["splits"]["test"]  # type: ignore[index]
        split["right"], split["clips"] = np.packbits(bits).tobytes().hex(), len(bits)
    return {run: value for run, value in found.items() if value is not None}


def test_where_clips_are_known_the_interval_counts_them_too() -> None:
    plan = comparison("none", "temporal=0.1")
    alone = [[1, 0, 0, 0, 1, 0, 0, 0, 0, 0]] * 3
    taught = [[1, 1, 0, 0, 1, 0, 0, 0, 0, 0]] * 3  # every seed wins by the same one clip of ten
    found = {**dict.fromkeys(plan.runs()), **with_bits(plan, "none", alone)}
    found |= with_bits(plan, "temporal=0.1", taught)
    row = table_rows(plan, found, BOTH, folds=False)[1]
    assert row.gain is not None
    assert row.gain.differences == pytest.approx((0.1, 0.1, 0.1))
    # By seeds alone the interval would be [0.1, 0.1]; one clip of ten shows nothing.
    assert row.gain.half_width == pytest.approx(stats.t.ppf(0.975, 9) * 0.1)
    assert "no difference shown" in summary([row])[0]


def test_two_seeds_have_no_interval() -> None:
    plan = comparison("none", "temporal=0.1", seeds=2)
    found = results(plan, {"none": [0.80, 0.70], "temporal=0.1": [0.81, 0.71]})
    rows = table_rows(plan, found, BOTH, folds=False)
    assert "| +1.0 | 2/2 |" in markdown(rows)
    assert "; no interval: fewer than three pairs; " in summary(rows)[0]


def test_intervals_beyond_0_are_counted_on_either_side() -> None:
    plan = comparison("none", "temporal=0.1", "logits=0.5")
    scores = {
        "none": [0.5, 0.6, 0.7],
        "temporal=0.1": [0.6, 0.7, 0.801],
        "logits=0.5": [0.4, 0.5, 0.6],
    }
    better, worse = summary(table_rows(plan, results(plan, scores), BOTH, folds=False))
    assert "1 of 1 cells; interval above 0 in 1, below 0 in 0; " in better
    assert "0 of 1 cells; interval above 0 in 0, below 0 in 1; " in worse


def test_what_is_missing_is_shown_as_such() -> None:
    plan = comparison("none", "temporal=0.1", "logits=0.5")
    found = results(plan, {"none": [0.8, None, 0.6], "temporal=0.1": [0.9, 0.7, None]})
    lines = markdown(table_rows(plan, found, BOTH, folds=False)).splitlines()[2:]
    assert "| 70.0 ± 14.1 (2 of 3) | 80.0, -, 60.0 |" in lines[0]
    assert "| 90.0, 70.0, - | +10.0 | 1/1 |" in lines[1], "one seed is there of both"
    assert lines[2] == "| sc | `tc-resnet` | `logits=0.5` | - | -, -, - | - | - | - |"
    rows = table_rows(plan, found, BOTH, folds=False)
    assert summary(rows)[0].endswith("; 1 of 3 scores missing")
    assert summary(rows)[1] == "logits=0.5: 3 of 3 scores missing"
    document = row_document(rows[2])
    assert (document["mean"], document["gain"], document["missing"]) == (None, None, 3)


def test_chance_stands_beside_the_scores_where_it_is_known() -> None:
    plan = comparison("none")
    found = results(plan, {"none": [0.8, 0.7, 0.6]})
    rows = table_rows(plan, found, BOTH, folds=False, chance={"sc": {"accuracy": 0.25}})
    head, _, line = markdown(rows).splitlines()
    assert head.endswith("| teacher | by chance |")
    assert line.endswith("| 25.0 |")
    assert row_document(rows[0])["chance"] == 0.25
    unknown = table_rows(plan, found, BOTH, folds=False, chance={"sc": {"accuracy": None}})
    assert "by chance" not in markdown(unknown)


def test_steps_are_known_where_every_result_has_them() -> None:
    plan = comparison("none", "logits=0.5")
    found = results(plan, {"none": [0.8, 0.7, 0.6], "logits=0.5": [0.8, 0.7, 0.6]})
    for run, known in found.items():
        if known and run.alternative == "none":
            known["steps"] = 100 + run.seed  # one ended later than the others
    found[Run("sc", "tc-resnet", "none", 2)] = None  # not finished
    steps = [row.steps for row in table_rows(plan, found, BOTH, folds=False)]
    assert steps == [100.5, None]  # results of before have none


def test_nothing_is_compared_where_none_is_no_condition() -> None:
    plan = comparison("temporal=0.1")
    rows = table_rows(plan, results(plan, {"temporal=0.1": [0.95] * 3}), BOTH, folds=False)
    assert [row.gain for row in rows] == [None]
    assert summary(rows) == ["temporal=0.1: above the teacher in 1 of 1 cells"]


def test_validation_chooses_and_the_test_of_the_others_is_not_requested() -> None:
    plan = comparison(EITHER, seeds=2)
    low, high = plan.conditions[0].alternatives
    found: dict[Run, dict[str, Any] | None] = dict.fromkeys(plan.runs())
    assert [job.score_on for job in Selection(plan, found).outstanding()] == [("validation",)] * 4
    for seed, validation in enumerate((0.6, 0.8)):
        found[Run("sc", "tc-resnet", high, seed)] = result(None, validation)
    assert Selection(plan, found).choices() == {}
    for seed, validation in enumerate((0.9, 0.3)):
        found[Run("sc", "tc-resnet", low, seed)] = result(None, validation)
    assert list(Selection(plan, found).choices().values()) == [high], "0.7 on average, and not 0.6"
    chosen = [Run("sc", "tc-resnet", high, seed) for seed in (0, 1)]
    assert Selection(plan, found).outstanding() == [RunJob(run, HELD_OUT) for run in chosen]
    text = markdown(table_rows(plan, found, BOTH, folds=False))
    assert "| `temporal=0.5`, chosen on validation | - |" in text
    found |= {run: result(0.7, 0.7) for run in chosen}
    assert Selection(plan, found).outstanding() == []


GRID = "logits=0.1;0.3;0.5:temperature=1;2;4"


def test_halving_gives_the_better_alternatives_more_epochs() -> None:
    """Nine alternatives, one of three kept; a hand-made score is best where 0.3 and 2 are."""
    plan = comparison("none", GRID, seeds=2, epochs=18, halving=3)
    found: dict[Run, dict[str, Any] | None] = dict.fromkeys(plan.runs())
    trained = Counter[int | None]()
    while jobs := Selection(plan, found).outstanding():
        for job in jobs:
            if found[job.run] is None:
                trained[job.run.epochs] += 1
            score = _hand_made(job.run)
            found[job.run] = result(score if "test" in job.score_on else None, score)
    assert trained == {2: 9 * 2, 6: 3 * 2, None: 2 * 2}, "the last with two of none"
    selection = Selection(plan, found)
    kept = selection.kept(plan.cells[1])
    assert [len(names) for names in kept] == [9, 3, 1, 1]
    assert set(kept[1]) == {f"logits=0.3:temperature={t}" for t in (1, 2, 4)}
    assert kept[-1] == ("logits=0.3:temperature=2",)
    assert selection.choices()[plan.cells[1]] == "logits=0.3:temperature=2"
    tested = {run for run, one in found.items() if one and "test" in one["splits"]}
    assert {(run.alternative, run.epochs) for run in tested} == {
        ("none", None),
        (kept[-1][0], None),
    }
    lines = search_lines(selection)
    assert lines[0].startswith("sc, tc-resnet: 3 of 9 alternatives went on after 2 epoch(s)")
    assert "after 6 epoch(s), by validation: logits=0.3:temperature=2 (0.69" in lines[1]
    row = table_rows(plan, found, BOTH, folds=False)[1]
    assert row.chosen == (kept[-1][0],)
    assert f"| `{kept[-1][0]}`, chosen on validation |" in markdown([row])


def _hand_made(run: Run) -> float:
    """Falls with the distance from weight 0.3 and temperature 2; a seed of two is luckier."""
    if run.alternative == "none":
        return 0.5
    (loss,) = parse_losses(run.alternative)
    distance = 10 * abs(loss.weight - 0.3) + abs(float(loss.options["temperature"]) - 2) / 10
    return 0.7 - distance / 20 - 0.01 * run.seed


def test_what_is_to_come_is_counted_before_it_is_known() -> None:
    plan = comparison("none", GRID, seeds=2, epochs=18, halving=3)
    selection = Selection(plan, dict.fromkeys(plan.runs()))
    assert len(selection.needed()) == (9 + 1) * 2
    assert Counter(run.epochs for run in selection.to_come()) == {6: 3 * 2, None: 2}
    assert len({plan.folder(run) for run in plan.runs()}) == len(plan.runs())
    short = next(run for run in plan.runs() if run.epochs == 2)
    assert plan.settings(short).recipe.epochs == 2


def test_a_round_that_lacks_a_run_chooses_nothing() -> None:
    plan = comparison(GRID, seeds=1, epochs=9, halving=3)
    found = {r: result(None, _hand_made(r)) if r.epochs == 1 else None for r in plan.runs()}
    assert len(Selection(plan, found).kept(plan.cells[0])) == 2
    found[next(run for run in found if run.epochs == 1)] = None
    assert len(Selection(plan, found).kept(plan.cells[0])) == 1
    assert [job.run.epochs for job in Selection(plan, found).outstanding()] == [1]


@pytest.mark.parametrize(
    ("candidates", "epochs", "factor", "expected"),
    [
        (9, 27, 3, [(3, 9), (9, 3), (None, 1)]),
        (8, 27, 3, [(9, 8), (None, 2)]),
        (27, 3, 3, [(1, 27), (None, 9)]),
        (2, 48, 3, [(None, 2)]),
        (5, 1, 2, [(None, 5)]),
        (5, 10, 2, [(2, 5), (5, 2), (None, 1)]),
    ],
)
def test_rounds_have_whole_epochs_and_end_with_all_of_them(
    candidates: int, epochs: int, factor: int, expected: list[tuple[int | None, int]]
) -> None:
    found = rungs(candidates, epochs, factor)
    assert [(rung.epochs, rung.candidates) for rung in found] == expected


def test_a_condition_without_a_choice_shows_it() -> None:
    plan = comparison(EITHER)
    text = markdown(table_rows(plan, dict.fromkeys(plan.runs()), BOTH, folds=False))
    assert "| `temporal=0.1` or `temporal=0.5`: not chosen yet | - |" in text


def test_a_run_that_two_conditions_share_is_trained_once() -> None:
    plan = comparison("none", "temporal=0.1", EITHER, seeds=1)
    assert [run.alternative for run in plan.runs()] == ["none", "temporal=0.1", "temporal=0.5"]
    jobs = Selection(plan, dict.fromkeys(plan.runs())).outstanding()
    assert [job.score_on for job in jobs] == [HELD_OUT, HELD_OUT, ("validation",)]


def test_seeds_go_first_so_that_a_table_grows_evenly() -> None:
    plan = comparison("none", "temporal=0.1", caches=("a", "b"), seeds=2)
    order = [(run.seed, run.cache, run.alternative) for run in plan.runs()]
    assert order[:4] == [(0, c, r) for c in "ab" for r in ("none", "temporal=0.1")]
    assert [seed for seed, _, _ in order] == [0] * 4 + [1] * 4


def test_folds_are_one_block_of_pairs() -> None:
    plan = comparison("none", "temporal=0.1", caches=("fold1", "fold2"), seeds=1)
    found = results(plan, {"none": [0.5], "temporal=0.1": [0.6]}, "fold1")
    found |= {
        run: one
        for run, one in results(plan, {"none": [0.7], "temporal=0.1": [0.7]}, "fold2").items()
        if run.cache == "fold2"
    }
    rows = table_rows(plan, found, BOTH, folds=True)
    assert [(row.cache, row.scores) for row in rows] == [
        ("2 folds", (0.5, 0.7)),
        ("2 folds", (0.6, 0.7)),
    ]
    assert rows[1].gain is not None
    assert rows[1].gain.differences == pytest.approx((0.1, 0.0))
    assert rows[1].gain.wins == 1


def test_a_multi_label_task_shows_both_auprc_beside_map() -> None:
    metrics = metrics_shown("multi", "mAP")
    assert metrics == ["mAP", "micro-auprc-sonyc", "macro-auprc-sonyc"]
    assert metrics_shown("single", "accuracy") == ["accuracy"]
    plan = comparison("none", seeds=1)
    more = {"micro-auprc-sonyc": 0.25, "macro-auprc-sonyc": 0.125}
    found = {plan.runs()[0]: result(0.5, **more)}
    lines = markdown(table_rows(plan, found, metrics, folds=False)).splitlines()
    assert lines[0].endswith("| teacher | micro-auprc-sonyc | macro-auprc-sonyc |")
    assert lines[2].endswith("| 50.0 | 50.0 |  |  | 90.0 | 25.0 | 12.5 |")


def test_the_csv_has_every_number_in_full() -> None:
    plan = comparison("none", "temporal=0.1", seeds=2)
    found = results(plan, {"none": [0.5, 0.25], "temporal=0.1": [0.75, None]})
    rows = table_rows(plan, found, BOTH, folds=False)
    lines = list(csv.DictReader(io.StringIO(csv_table(rows))))
    assert lines[1]["condition"] == "temporal=0.1"
    assert lines[1]["scores"] == "0.75 -"
    assert (lines[1]["gain"], lines[1]["wins"]) == ("0.25", "1")
    assert json.loads(json.dumps(row_document(rows[0])))["scores"] == [0.5, 0.25]

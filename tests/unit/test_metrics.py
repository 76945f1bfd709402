"""Metrics whose values a pencil finds."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_cache import copy_small_cache, row

from cache_schema.errors import RunError, UsageError
from cache_schema.reader import open_cache
from student.metrics import Score, check_metric, measure, metrics_of, teacher_score
from student.metrics.interface import Predictions
from student.metrics.per_class import confusion, per_class
from student.metrics.roc import d_prime
from student.metrics.sonyc import trapezoidal_auprc
from student.metrics.teacher import teacher_predictions

CLASSES = ("a", "b", "c", "d")


def answers(logits: list[list[float]], labels: list[list[int]], task: str) -> Predictions:
    """Answers about a handful of clips."""
    return Predictions(
        np.array(logits, float), np.array(labels, bool), task, CLASSES[: len(labels[0])]
    )


TWO_TAGS = answers(
    # a: right, wrong, right, wrong by falling score. b: wrong, right, wrong, wrong.
    [[4.0, 0.5], [3.0, 1.5], [2.0, -1.0], [1.0, -2.0]],
    [[1, 1], [0, 0], [1, 0], [0, 0]],
    "multi",
)
THREE_WORDS = answers(
    [[3.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 2.0, 1.0], [2.0, 1.0, 0.0]],
    [[1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0]],
    "single",
)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        # a: (1 + 2/3) / 2; b: 1/2
        ("mAP", (5 / 6 + 1 / 2) / 2),
        # pooled by falling score: a+, a-, a+, b-, a-, b+: precisions at hits 1, 2/3, 3/6
        ("micro-ap", (1 + 2 / 3 + 1 / 2) / 3),
        # recall thirds: 1/3 at precision 1, then 1/2 up to 2/3, then 2/5 up to 1/2
        ("micro-auprc-sonyc", 1 / 3 + (1 / 2 + 2 / 3) / 6 + (2 / 5 + 1 / 2) / 6),
        # a: 1/2 + (1/2 + 2/3) / 4; b: from (0, 0) to (1, 1/2)
        ("macro-auprc-sonyc", (1 / 2 + 7 / 24 + 1 / 4) / 2),
        # a: 3 of 4 pairs are in order; b: 2 of 3
        ("roc-auc", (3 / 4 + 2 / 3) / 2),
    ],
)
def test_a_multi_label_metric_has_its_hand_value(metric: str, value: float) -> None:
    assert measure(TWO_TAGS, metric).value == pytest.approx(value, abs=1e-6)


def test_accuracy_counts_the_likeliest_class() -> None:
    found = measure(THREE_WORDS)
    assert (found.metric, found.value, found.clips) == ("accuracy", 0.75, 4)


def test_a_single_label_ranking_is_by_probability_not_by_logit() -> None:
    # The second clip has the higher logit of a, the first the higher probability.
    ranked = answers([[1.0, -1.0], [3.0, 2.5]], [[1, 0], [0, 1]], "single")
    assert measure(ranked, "mAP").value == 1.0


def test_probabilities_that_round_to_one_still_rank() -> None:
    ranked = answers([[90.0], [80.0]], [[1], [0]], "multi")
    assert measure(ranked, "roc-auc").value == 1.0


def test_the_two_micro_averages_part_where_scores_tie() -> None:
    tied = answers([[0.0]] * 4, [[1], [0], [0], [0]], "multi")
    assert measure(tied, "micro-ap").value == pytest.approx(1 / 4)
    assert measure(tied, "micro-auprc-sonyc").value == pytest.approx((1 + 1 / 4) / 2)


def test_lines_join_the_points_of_a_class() -> None:
    found = trapezoidal_auprc(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]))
    assert found == pytest.approx(1 / 2 + (1 / 2 + 2 / 3) / 4)


@pytest.mark.parametrize(("auc", "expected"), [(0.974047, 2.749107), (0.981043, 2.935601)])
def test_d_prime_is_that_of_the_papers_areas(auc: float, expected: float) -> None:
    assert d_prime(auc) == pytest.approx(expected, abs=1e-6)
    assert d_prime(1 - auc) == pytest.approx(-expected, abs=1e-6)


def test_d_prime_is_of_the_mean_area_not_the_mean_of_the_classes() -> None:
    # Class a is perfect: its own d' would be infinite.
    found = answers([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]], [[1, 0], [1, 1], [0, 0]], "multi")
    assert measure(found, "d-prime").value == pytest.approx(d_prime((1 + 1 / 2) / 2), abs=1e-5)


def test_a_perfect_d_prime_is_infinite_and_spelled_out_in_json() -> None:
    perfect = measure(answers([[1.0], [0.0]], [[1], [0]], "multi"), "d-prime")
    assert perfect.value == math.inf
    assert json.dumps(perfect.json_value, allow_nan=False) == '"inf"'
    assert str(perfect) == "d-prime inf on 2 clips"


def test_classes_without_positives_are_left_out_and_named() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 3.0, 0.0]])
    labels = torch.tensor([[1, 0, 0, 0], [0, 0, 1, 0]])
    found = measure(Predictions.of(logits, labels, task="multi", classes=CLASSES))
    assert found.metric == "mAP"
    assert found.left_out == ("b", "d")
    assert found.value == pytest.approx(1.0)
    assert "left out, no positives: b, d" in str(found)


def test_a_class_that_every_clip_has_is_left_out_of_the_roc() -> None:
    found = measure(answers([[1.0, 0.0], [0.0, 1.0]], [[1, 0], [1, 1]], "multi"), "roc-auc")
    assert found.left_out == ("a",)
    assert found.value == 1.0
    assert "left out, no positives or no negatives: a" in str(found)


def test_no_labelled_clip_gives_no_score() -> None:
    found = measure(
        Predictions.of(torch.zeros(0, 4), torch.zeros(0, 4), task="single", classes=CLASSES)
    )
    assert math.isnan(found.value)
    assert (found.clips, found.defined, found.json_value) == (0, False, None)


def test_logits_that_are_not_finite_are_rejected() -> None:
    with pytest.raises(RunError, match="1 of 2 clips have logits that are not finite"):
        answers([[1.0, 0.0], [math.nan, 0.0]], [[1, 0], [0, 1]], "single")


def test_a_multi_label_task_has_no_accuracy() -> None:
    assert metrics_of("single")[0] == "accuracy"
    assert metrics_of("multi")[0] == "mAP"
    assert "accuracy" not in metrics_of("multi")
    with pytest.raises(UsageError, match=r"belongs to single-label tasks.*--metric mAP, micro-ap"):
        check_metric("accuracy", "multi")


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'micro-ap'"):
        measure(TWO_TAGS, "micro-map")


def test_a_class_has_its_hand_scores() -> None:
    a, b, c = per_class(THREE_WORDS)
    assert (a.name, a.positives, a.precision, a.recall, a.f1) == ("a", 2, 1.0, 1.0, 1.0)
    assert (b.positives, b.precision, b.recall, b.f1) == (2, 1.0, 0.5, pytest.approx(2 / 3))
    assert (c.positives, c.precision, c.recall, c.f1) == (0, 0.0, None, None)
    assert (c.average_precision, c.roc_auc) == (None, None)


def test_a_tag_is_reported_above_one_half() -> None:
    logits = [[0.1, 0.0], [-0.1, -1.0]]
    a, b = per_class(answers(logits, [[1, 1], [1, 0]], "multi"))
    assert (a.precision, a.recall, a.roc_auc) == (1.0, 0.5, None)
    assert (b.precision, b.recall, b.f1, b.roc_auc) == (None, 0.0, 0.0, 1.0)


def test_confusions_count_clips_by_class_and_answer() -> None:
    found = confusion(THREE_WORDS)
    assert found is not None
    assert found.tolist() == [[2, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert confusion(TWO_TAGS) is None


def test_the_teachers_score_is_of_its_cached_logits(tmp_path: Path) -> None:
    cache = open_cache(copy_small_cache(tmp_path / "small.zarr"))
    logits = np.array([row(i, 0, ["logits"]).signals["logits"] for i in range(4)])
    right = logits.argmax(1) == np.arange(4) % 2  # clip i has class i % 2
    assert teacher_score(cache, "train") == Score("accuracy", right.mean(), 4, covered=2)
    found = teacher_score(cache, "train", metric="roc-auc")
    assert found is not None
    assert found.metric == "roc-auc"
    assert teacher_score(cache, "nowhere") is None


def test_a_teacher_of_other_classes_has_no_score_without_a_map(tmp_path: Path) -> None:
    cache = open_cache(copy_small_cache(tmp_path / "small.zarr"))
    cache.__dict__["classes"] = ("no", "maybe")
    assert teacher_score(cache, "train") is None


def test_a_teacher_answers_for_the_classes_it_covers(tmp_path: Path) -> None:
    cache = open_cache(copy_small_cache(tmp_path / "small.zarr"))
    found = teacher_score(cache, "train", class_map={"yes": []})
    assert found is not None
    assert (found.value, found.clips, found.covered) == (1.0, 2, 1)
    assert str(found) == "accuracy 1.0000 on 2 clips (covers 1 of 2 classes, not: yes)"
    swapped = teacher_predictions(cache, "train", {"yes": ["no"], "no": ["yes"]})
    straight = teacher_predictions(cache, "train")
    assert swapped is not None
    assert straight is not None
    assert np.array_equal(swapped.logits_NC, straight.logits_NC[:, ::-1])

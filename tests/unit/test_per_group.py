"""Scores of speakers, sessions and places by themselves, and what chance would give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_cache

from cache_schema.reader import open_cache
from student.evaluation.report import group_line
from student.metrics import METRICS
from student.metrics.chance import CHANCE, chance_level
from student.metrics.interface import Predictions
from student.metrics.per_group import GroupScore, groups_of, per_group


def predictions(task: str, clips_N: list[int] | None = None) -> Predictions:
    """Four clips of which the first two are right; all are of the first class but the last."""
    logits_NC = np.array([[2.0, -1], [1, -3], [-1, 1], [3, -2]])
    labels_NC = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], bool)
    places = None if clips_N is None else np.array(clips_N)
    return Predictions(logits_NC, labels_NC, task, ("a", "b"), clips_N=places)


def test_groups_are_scored_by_themselves_the_weakest_first() -> None:
    found = per_group(predictions("single"), ["x", "x", "y", "x"], "accuracy")
    assert found == [GroupScore("y", 1, 0.0), GroupScore("x", 3, pytest.approx(2 / 3))]
    assert per_group(predictions("single"), ["", "", "", "z"], "accuracy") == [
        GroupScore("z", 1, 0.0)
    ]


def test_a_group_without_a_score_comes_last() -> None:
    one = predictions("multi")
    nothing = replace(one, labels_NC=np.zeros((4, 2), bool) | (np.arange(4)[:, None] == 3))
    found = per_group(nothing, ["x", "x", "y", "y"], "mAP")
    assert [(group.name, group.score) for group in found] == [("y", 0.75), ("x", None)]
    assert group_line(found) == "2 group(s): weakest y 0.7500 (n 2), best y 0.7500 (n 2)"
    assert group_line(found[1:]) == "1 group(s), none with a score"


def test_groups_are_found_by_the_place_of_clips_in_the_cache(tmp_path: Path) -> None:
    clips = [replace(clip, group=f"s{n % 4}") for n, clip in enumerate(small_cache.clips())]
    cache = open_cache(small_cache.write_small_cache(tmp_path / "c.zarr", clips))
    assert groups_of(cache, predictions("single", [5, 2, 3, 4])) == ["s1", "s2", "s3", "s0"]
    assert groups_of(cache, predictions("single")) == []
    plain = open_cache(small_cache.copy_small_cache(tmp_path / "plain.zarr"))
    assert groups_of(plain, predictions("single", [0, 1, 2, 3])) == []
    assert plain.clip_table.groups(0, 2) == ["", ""]


def test_chance_is_what_answers_without_knowledge_reach() -> None:
    labels_NC = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], bool)
    assert CHANCE.keys() <= METRICS.keys()
    assert chance_level(labels_NC, "accuracy") == 0.75
    assert chance_level(labels_NC, "mAP") == 0.625  # of the two classes that are there
    assert chance_level(labels_NC, "micro-ap") == pytest.approx(5 / 12)
    assert chance_level(labels_NC, "roc-auc") == 0.5
    assert chance_level(labels_NC, "d-prime") is None
    assert chance_level(labels_NC[:0], "mAP") is None


def test_a_random_ranking_has_the_chance_level() -> None:
    random = np.random.default_rng(0)
    labels_NC = random.random((4000, 2)) < [0.1, 0.4]
    found = Predictions(random.normal(size=(4000, 2)), labels_NC, "multi", ("a", "b"))
    from student.metrics import measure

    assert measure(found, "mAP").value == pytest.approx(chance_level(labels_NC, "mAP"), abs=0.02)

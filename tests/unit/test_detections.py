"""When a detection is reported, and when it is not reported again."""

from __future__ import annotations

import numpy as np
import pytest

from student.predict.detections import Detection, Detector


def reported(detector: Detector, *scores: tuple[float, ...], hop_s: float = 0.1) -> list[Detection]:
    return [
        found
        for turn, one in enumerate(scores)
        for found in detector.update(round(turn * hop_s, 6), np.array(one))
    ]


def single(threshold: float = 0.5, refractory_s: float = 0.0) -> Detector:
    return Detector(("a", "b"), "single", threshold, refractory_s)


def multi(threshold: float = 0.5, refractory_s: float = 0.0) -> Detector:
    return Detector(("a", "b"), "multi", threshold, refractory_s)


def test_a_rise_is_reported_once_with_its_place_and_score() -> None:
    found = reported(single(0.6), (0.6, 0.4), (0.9, 0.1), (0.8, 0.2))
    assert found == [Detection(0.0, "a", 0.6)]


def test_a_class_is_reported_again_after_it_was_away() -> None:
    found = reported(single(), (0.9, 0.1), (0.1, 0.9), (0.9, 0.1))
    assert [(one.label, one.start_s) for one in found] == [("a", 0.0), ("b", 0.1), ("a", 0.2)]


def test_not_within_the_refractory_time() -> None:
    scores = [(0.9, 0.0), (0.1, 0.0)] * 10  # every 0.2 s
    found = reported(multi(0.5, 0.5), *scores)
    assert [one.start_s for one in found] == [0.0, 0.6, 1.2, 1.8]


def test_what_rises_within_the_refractory_time_and_stays_is_reported_behind_it() -> None:
    scores = [(0.9, 0.0)] * 5 + [(0.1, 0.0)] * 4 + [(0.9, 0.0)] * 6  # up again at 0.9 s
    found = reported(multi(0.5, 1.0), *scores)
    assert [one.start_s for one in found] == pytest.approx([0.0, 1.0])


def test_each_class_has_a_refractory_time_of_its_own() -> None:
    found = reported(multi(0.5, 9), (0.9, 0.1), (0.9, 0.9))
    assert [(one.label, one.start_s) for one in found] == [("a", 0.0), ("b", 0.1)]


def test_of_a_single_label_task_only_the_likeliest_class_counts() -> None:
    assert [one.label for one in reported(single(0.1), (0.4, 0.6))] == ["b"]
    assert [one.label for one in reported(multi(0.1), (0.4, 0.6))] == ["a", "b"]


@pytest.mark.parametrize("make", [single, multi])
def test_nothing_is_reported_below_the_threshold(make: type) -> None:
    assert reported(make(0.99), (0.9, 0.1), (0.1, 0.9)) == []

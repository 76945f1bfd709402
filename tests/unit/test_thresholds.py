"""Thresholds of a multi-label task, compared with trying every one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from student.metrics.interface import Predictions
from student.metrics.thresholds import best_thresholds, f1_above


def predictions(logits_N: list[float], labels_N: list[bool]) -> Predictions:
    columns = np.array(logits_N)[:, None], np.array(labels_N)[:, None]
    return Predictions(*columns, "multi", ("a",))


@given(
    st.lists(st.tuples(st.integers(-6, 6), st.booleans()), min_size=1, max_size=20).filter(
        lambda clips: any(label for _, label in clips)
    )
)
@settings(deadline=None)
def test_no_other_threshold_has_a_higher_f1(clips: list[tuple[int, bool]]) -> None:
    found = predictions([float(logit) for logit, _ in clips], [label for _, label in clips])
    (threshold,) = best_thresholds(found)
    (best,) = f1_above(found, [threshold])
    assert best is not None
    probability_N, labels_N = 1 / (1 + np.exp(-found.logits_NC[:, 0])), found.labels_NC[:, 0]
    every = [f1_score(labels_N, probability_N > t) for t in (0.0, *(probability_N - 1e-9))]
    assert best == pytest.approx(max(every))


def test_the_threshold_lies_midway_and_the_highest_of_equals_is_taken() -> None:
    found = predictions([2.0, -2.0, -3.0], [True, False, False])
    (threshold,) = best_thresholds(found)
    assert threshold == pytest.approx((1 / (1 + np.exp(-2)) + 1 / (1 + np.exp(2))) / 2)
    assert best_thresholds(predictions([1.0], [False])) == [None]
    assert f1_above(predictions([1.0], [False]), [0.5]) == [None]
    assert f1_above(found, [None]) == [None]

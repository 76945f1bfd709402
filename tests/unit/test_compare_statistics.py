"""Statistics of paired runs: values computed by hand, and scipy's."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from student.compare.statistics import deviation, mean, paired, t_quantile


def test_the_interval_of_three_pairs_is_the_one_computed_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, deviation 1; t(2) at 97.5 % is 4.30265; 4.30265 / sqrt(3) = 2.48413.
    found = paired([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert found.differences == (1.0, 2.0, 3.0)
    assert found.mean == 2.0
    assert found.half_width == pytest.approx(2.48413, abs=1e-5)
    assert found.wins == 3


def test_a_single_pair_has_a_difference_and_no_interval() -> None:
    found = paired([0.5], [0.75])
    assert (found.mean, found.half_width, found.wins) == (-0.25, None, 0)


def test_a_tie_is_no_win() -> None:
    assert paired([0.5, 0.75, 0.25], [0.5, 0.5, 0.5]).wins == 1


def test_the_spread_is_that_of_a_sample() -> None:
    assert mean([0.0, 1.0, 2.0, 3.0]) == 1.5
    assert deviation([0.0, 1.0, 2.0, 3.0]) == pytest.approx(math.sqrt(5 / 3))
    assert deviation([0.7]) is None


@pytest.mark.parametrize("degrees", [*range(1, 31), 99, 100, 1000])
def test_quantiles_of_students_t_are_scipys(degrees: int) -> None:
    expected = stats.t.ppf(0.975, degrees)
    assert t_quantile(degrees) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_other_confidences_are_scipys_too(confidence: float) -> None:
    expected = stats.t.ppf((1 + confidence) / 2, 7)
    assert t_quantile(7, confidence) == pytest.approx(expected, rel=1e-9)

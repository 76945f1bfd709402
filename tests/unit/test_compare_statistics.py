"""Statistics of paired runs: values computed by hand, and scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from student.compare.statistics import mean, paired, paired_by_clip, standard_deviation, t_quantile


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
    assert standard_deviation([0.0, 1.0, 2.0, 3.0]) == pytest.approx(math.sqrt(5 / 3))
    assert standard_deviation([0.7]) is None


@pytest.mark.parametrize("degrees", [*range(1, 31), 99, 100, 1000])
def test_quantiles_of_students_t_are_scipys(degrees: int) -> None:
    expected = stats.t.ppf(0.975, degrees)
    assert t_quantile(degrees) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_other_confidences_are_scipys_too(confidence: float) -> None:
    expected = stats.t.ppf((1 + confidence) / 2, 7)
    assert t_quantile(7, confidence) == pytest.approx(expected, rel=1e-9)


def test_two_pairs_have_no_interval() -> None:
    """Equal differences would make it a point."""
    found = paired([0.5, 0.6], [0.4, 0.5])
    assert found.half_width is None
    assert not found.shown


def test_mean_squares_of_seeds_and_clips_by_hand() -> None:
    # Differences of three seeds on four clips; rows and columns have the means below.
    ours = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 0]], bool)
    theirs = np.zeros((3, 4), bool)
    # Seeds 1/2, 3/4, 1/2, clips 1, 2/3, 2/3, 0, mean 7/12.
    by_seed = 4 * (2 * (1 / 12) ** 2 + (1 / 6) ** 2) / 2
    by_clip = 3 * ((5 / 12) ** 2 + 2 * (1 / 12) ** 2 + (7 / 12) ** 2) / 3
    total = 7 * (5 / 12) ** 2 + 5 * (7 / 12) ** 2
    rest = (total - 2 * by_seed - 3 * by_clip) / 6
    square = by_seed + by_clip - rest
    degrees = square**2 / (by_seed**2 / 2 + by_clip**2 / 3 + rest**2 / 6)
    halves = [
        stats.t.ppf(0.975, math.floor(degrees)) * math.sqrt(square / 12),
        stats.t.ppf(0.975, 2) * math.sqrt(by_seed / 12),
        stats.t.ppf(0.975, 3) * math.sqrt(by_clip / 12),
    ]
    found = paired_by_clip(ours, theirs)
    assert found.differences == (0.5, 0.75, 0.5)
    assert found.mean == pytest.approx(7 / 12)
    assert found.half_width == pytest.approx(max(halves))


@pytest.mark.parametrize("seed_spread", [0.0, 0.05])
def test_an_interval_by_clip_covers_the_truth_about_as_often_as_it_reports(
    seed_spread: float,
) -> None:
    """Clips of differing difficulty, seeds of differing luck, a true gain of 5 points."""
    random = np.random.default_rng(0)
    trials, seeds, clips, gain = 400, 3, 300, 0.05
    covered = 0
    for _ in range(trials):
        ease = random.beta(3, 2, clips) * 0.9
        luck = random.normal(0, seed_spread, (seeds, 1))
        theirs = random.random((seeds, clips)) < ease
        ours = random.random((seeds, clips)) < ease + gain + luck
        found = paired_by_clip(ours, theirs)
        assert found.half_width is not None
        covered += abs(found.mean - gain) <= found.half_width
    assert 0.93 * trials <= covered


@pytest.mark.parametrize("seed", range(20))
def test_an_interval_by_clip_is_never_narrower_than_of_the_seeds_alone(seed: int) -> None:
    random = np.random.default_rng(seed)
    levels_S1 = random.uniform(0.3, 0.9, (2, 3, 1))
    ours, theirs = random.random((2, 3, 27)) < levels_S1
    alone, found = paired(ours.mean(1), theirs.mean(1)), paired_by_clip(ours, theirs)
    assert found.differences == pytest.approx(alone.differences)
    assert found.half_width >= alone.half_width - 1e-12


def test_equal_answers_have_no_difference_and_an_interval_of_no_length() -> None:
    same = np.eye(3, 9, dtype=bool)
    found = paired_by_clip(same, same)
    assert (found.mean, found.half_width, found.shown) == (0.0, 0.0, False)

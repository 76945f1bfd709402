"""How far a training is: which epoch is kept, and since when the score has not risen."""

from __future__ import annotations

from student.training.progress import Progress


def test_the_last_of_equal_scores_is_kept_and_the_first_is_when_it_rose() -> None:
    progress, kept = Progress(), []
    for score in (0.5, 0.8, 0.8, 0.7, 0.8):
        progress.count_epoch({})
        progress.count_validation(score)
        kept.append((progress.best["epoch"], progress.risen))
    assert kept == [(1, 1), (2, 2), (3, 2), (3, 2), (5, 2)]


def test_without_scores_the_last_epoch_is_kept() -> None:
    progress = Progress()
    for _ in range(2):
        progress.count_epoch({})
        progress.count_validation(None)
    assert progress.best["epoch"] == progress.risen == 2

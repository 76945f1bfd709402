"""How long training clips are, as an export and a run take it."""

from __future__ import annotations

import numpy as np

from cache_schema.front_ends import FRONT_ENDS
from student.stream.lengths import MAX_CUT, TrainingLengths

FRONT_END = FRONT_ENDS["mfcc40"]
HOP = FRONT_END.hop_samples


def lengths(*samples: int) -> TrainingLengths:
    return TrainingLengths(np.array(samples, np.int64), "train", FRONT_END)


def test_a_length_that_is_chosen_for_all_cuts_few_of_them() -> None:
    """What an export chooses by itself is not what it then advises against."""
    nearly = lengths(*[16_000] * 8, 16_000 + HOP, 16_000 + HOP)
    assert not nearly.are_ragged
    assert nearly.share_longer(nearly.commonest) <= MAX_CUT
    ragged = lengths(*range(8_000, 18_000, 1_000))
    assert ragged.are_ragged
    assert ragged.share_longer(ragged.holding_most) <= MAX_CUT


def test_clips_that_are_longer_by_more_than_a_hop_are_cut() -> None:
    found = lengths(16_000, 16_000 + HOP, 16_000 + HOP + 1, 32_000)
    assert found.share_longer(16_000) == 0.5

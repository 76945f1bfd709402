"""How long the training clips of a cache are.

Shape suffix: N clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UsageError
from cache_schema.front_ends import FrontEnd, sample_count
from cache_schema.reader import Cache
from cache_schema.signal_names import WAVEFORM
from student.stream.unit_loader import feature_sources

TRAIN = "train"
READ_CLIPS = 2000
MAX_CUT = 0.1
"""Share of the training clips that are no reason against one length for all."""


@dataclass(frozen=True, slots=True)
class TrainingLengths:
    """How long training clips are.

    By the first clips that the split stores, in whose random order they are a fair sample.

    Attributes
    ----------
    samples_N : int64, shape (N,)
        At least one window; of a cache without waveforms the shortest lengths that have the frames.
    split : str
        Whose clips they are.
    front_end : FrontEnd
        Of the student.
    """

    samples_N: NDArray[np.int64]
    split: str
    front_end: FrontEnd

    @classmethod
    def of(cls, cache: Cache, front_end: FrontEnd) -> TrainingLengths:
        """Read them; of a cache without training clips those of its first split.

        Raises
        ------
        UsageError
            Kind ``"clips"``, if there is no clip.
        """
        sources = feature_sources(cache, front_end)
        source = WAVEFORM if WAVEFORM in sources else sources[0]
        split = TRAIN if TRAIN in cache.splits else cache.splits[0]
        stored: list[int] = []
        for unit in cache.units(split, 0):
            stored += cache.lengths(unit, source).tolist()
            if len(stored) >= READ_CLIPS:
                break
        if not stored:
            raise UsageError(
                f"{cache.root} has no usable clip in {split}; choose a length: --length-s 1",
                kind="clips",
            )
        if source != WAVEFORM:
            stored = [sample_count(frames, front_end) for frames in stored]
        samples_N = np.maximum(np.array(stored, np.int64), front_end.window_samples)
        return cls(samples_N, split, front_end)

    @property
    def commonest(self) -> int:
        """The commonest length, the longest one of several."""
        values, counts = np.unique(self.samples_N, return_counts=True)
        return int(values[counts == counts.max()].max())

    @property
    def are_ragged(self) -> bool:
        """Whether over a tenth of the clips differ from the commonest length by more than a hop."""
        away_N = np.abs(self.samples_N - self.commonest) > self.front_end.hop_samples
        return bool(away_N.mean() > MAX_CUT)

    @property
    def holding_most(self) -> int:
        """The shortest of their lengths that cuts at most a tenth of the clips."""
        return int(np.quantile(self.samples_N, 1 - MAX_CUT, method="inverted_cdf"))

    def share_longer(self, samples: int) -> float:
        """Share of the clips that a form of so many samples cuts by more than a hop."""
        return float((self.samples_N > samples + self.front_end.hop_samples).mean())

    def __str__(self) -> str:
        shortest_s, longest_s = (
            found / self.front_end.sample_rate_hz
            for found in (self.samples_N.min(), self.samples_N.max())
        )
        return (
            f"{len(self.samples_N):,} {self.split} clips of {shortest_s:.4g} to {longest_s:.4g} s"
        )

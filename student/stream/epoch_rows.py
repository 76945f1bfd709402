"""Which rows an epoch of training has: labelled ones repeated, unlabelled ones left out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cache_schema.reader import Cache
from cache_schema.store.files import sha256

NONE_LEFT_OUT = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class EpochRows:
    """Each labelled row stands `times` times in an epoch on average, an unlabelled one once.

    Attributes
    ----------
    times : float
        At least 1.
    labelled : int
        Labelled rows, where they are repeated.
    left_out : int64, shape (n,)
        Clips, by their positions in the clip table, that no epoch has.

    Examples
    --------
    Of 100 labelled and 900 unlabelled rows half shall be labelled: each labelled one comes nine times.

    >>> EpochRows.for_share(0.5, labelled=100, unlabelled=900).times
    9.0
    >>> EpochRows.for_share(0.5, labelled=100, unlabelled=50).times
    1.0
    """

    times: float = 1.0
    labelled: int = 0
    left_out: NDArray[np.int64] = field(default_factory=NONE_LEFT_OUT.copy)

    @classmethod
    def for_share(
        cls,
        share: float | None,
        labelled: int,
        unlabelled: int,
        left_out: NDArray[np.int64] = NONE_LEFT_OUT,
    ) -> EpochRows:
        """Repeat labelled rows until they are a share of all; they are never left out for it."""
        if share is None or not labelled:
            return cls(left_out=left_out)
        return cls(max(1.0, unlabelled * share / (1 - share) / labelled), labelled, left_out)

    @classmethod
    def alone(cls, cache: Cache, split: str, unlabelled: int | None) -> EpochRows:
        """Find the rows of a training by labels alone: no unlabelled one, as it would teach nothing.

        Labelled rows come again in their place, so that batches are full, and an epoch has as many
        steps as that of the distilled twin; with no `unlabelled` clips each comes once.
        """
        labelled_n, unlabelled_n = usable_clips(cache, split)
        count = len(unlabelled_n) if unlabelled is None else unlabelled
        return cls(1 + count / max(1, len(labelled_n)), len(labelled_n), unlabelled_n)

    @classmethod
    def of(cls, cache: Cache, split: str, share: float | None, unlabelled: int | None) -> EpochRows:
        """Find the rows of a training that learns from so many unlabelled clips, by default all."""
        if share is None and unlabelled is None:
            return cls()
        labelled_n, unlabelled_n = usable_clips(cache, split)
        ordered_n = unlabelled_n if unlabelled is None else by_hash(cache, unlabelled_n)
        count = len(ordered_n) if unlabelled is None else unlabelled
        return cls.for_share(share, len(labelled_n), count, ordered_n[count:])

    def rows(self, once: int) -> int:
        """Rows of an epoch of a split with so many."""
        return once - len(self.left_out) + round(self.labelled * (self.times - 1))

    def places(
        self,
        clips: NDArray[np.int64],
        labelled: NDArray[np.bool_],
        random: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Give the places of rows, labelled ones as often as they come; which once more is drawn."""
        every = np.arange(len(labelled))
        if len(self.left_out):
            every = every[~np.isin(clips, self.left_out)]
        if self.times == 1:
            return every
        repeated, whole = np.flatnonzero(labelled), int(self.times)
        more = round(len(repeated) * (self.times - whole))
        drawn = repeated[random.permutation(len(repeated))[:more]]
        return np.concatenate([every, np.tile(repeated, whole - 1), drawn])


def usable_clips(cache: Cache, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Clips of the usable rows of a split's first view: those with labels, and those without."""
    rows = [cache.read_unit(unit, ()) for unit in cache.units(split, 0)]
    clips = np.concatenate([NONE_LEFT_OUT, *(one.clip for one in rows)])
    labelled = np.concatenate([NONE_LEFT_OUT.astype(np.bool_), *(one.labelled for one in rows)])
    return clips[labelled], clips[~labelled]


def by_hash(cache: Cache, clips: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order clips by a digest of their ids, so that fewer are a part of more, in any cache."""
    ids = cache.clip_ids()
    return np.array(sorted(clips.tolist(), key=lambda clip: sha256(ids[clip].encode())), np.int64)

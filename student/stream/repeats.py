"""How often labelled rows stand in an epoch, where unlabelled ones outnumber them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache_schema.reader import Cache


@dataclass(frozen=True, slots=True)
class Repeats:
    """Each labelled row stands `times` times in an epoch on average, an unlabelled one once.

    Attributes
    ----------
    times : float
        At least 1.
    labelled : int
        Labelled rows, where they are repeated.

    Examples
    --------
    Of 100 labelled and 900 unlabelled rows half shall be labelled: each labelled one comes nine times.

    >>> Repeats.for_share(0.5, labelled=100, unlabelled=900)
    Repeats(times=9.0, labelled=100)
    >>> Repeats.for_share(0.5, labelled=100, unlabelled=50)
    Repeats(times=1.0, labelled=100)
    """

    times: float = 1.0
    labelled: int = 0

    @classmethod
    def for_share(cls, share: float | None, labelled: int, unlabelled: int) -> Repeats:
        """Repeat labelled rows until they are a share of all; they are never left out for it."""
        if share is None or not labelled:
            return cls()
        return cls(max(1.0, unlabelled * share / (1 - share) / labelled), labelled)

    def rows(self, once: int) -> int:
        """Rows of an epoch that has so many without repetition."""
        return once + round(self.labelled * (self.times - 1))

    def places(self, labelled: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.int64]:
        """Give the places of rows with the labelled ones repeated; which come once more is drawn."""
        every = np.arange(len(labelled))
        if self.times == 1:
            return every
        repeated, whole = np.flatnonzero(labelled), int(self.times)
        more = round(len(repeated) * (self.times - whole))
        drawn = repeated[random.permutation(len(repeated))[:more]]
        return np.concatenate([every, np.tile(repeated, whole - 1), drawn])


def labelled_counts(cache: Cache, split: str) -> tuple[int, int]:
    """Count the usable rows of a split's first view: labelled, and not."""
    units = [cache.read_unit(unit, ()).labelled for unit in cache.units(split, 0)]
    labelled = sum(int(found.sum()) for found in units)
    return labelled, sum(len(found) for found in units) - labelled

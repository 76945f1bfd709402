"""Lanes: an epoch's rows cut into equal parts, each streamed by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cache_schema.reader import Unit


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows `first` to `last` of a unit, by the cache's index."""

    unit: Unit
    first: int
    last: int

    def rows(self, usable: int) -> range:
        """Give its part of the unit's usable rows; the pieces of a unit share each row once.

        Which rows are quarantined is known only once a unit is read, so it is divided in proportion.
        """
        return range(self.first * usable // self.unit.rows, self.last * usable // self.unit.rows)


@dataclass(frozen=True, slots=True)
class Lane:
    """Lane `number` of `count`.

    Which rows a lane has follows from the index, the seed and the epoch, never from how many
    processes there are: that is why a training gives the same weights on any number of them.

    Examples
    --------
    Two units of three rows, in the order of an epoch, in two lanes and in four:

    >>> units = [Unit(7, 0, "train", 12, 3), Unit(2, 0, "train", 0, 3)]
    >>> [[(p.unit.number, p.first, p.last) for p in Lane(n, 2).pieces(units)] for n in range(2)]
    [[(7, 0, 3)], [(2, 0, 3)]]
    >>> [[(p.unit.number, p.first, p.last) for p in Lane(n, 4).pieces(units)] for n in range(4)]
    [[(7, 0, 1)], [(7, 1, 3)], [(2, 0, 1)], [(2, 1, 3)]]
    """

    number: int = 0
    count: int = 1

    def pieces(self, units: Sequence[Unit]) -> list[Piece]:
        """Cut the rows of `units`, one unit after the other, into `count` parts, and give this one."""
        total = sum(unit.rows for unit in units)
        begin, end = (total * n // self.count for n in (self.number, self.number + 1))
        found, before = [], 0
        for unit in units:
            first, last = max(begin - before, 0), min(end - before, unit.rows)
            if first < last:
                found.append(Piece(unit, first, last))
            before += unit.rows
        return found

    def random(self, seed: int, epoch: int) -> np.random.Generator:
        """Random numbers of this lane's own order."""
        key = np.random.SeedSequence([seed, epoch, self.number, self.count])
        return np.random.Generator(np.random.Philox(key))

    def draw(self, batch: int) -> int:
        """Number, in its epoch, of a batch of this lane, by which its augmentation is drawn."""
        return batch * self.count + self.number


WHOLE = Lane()

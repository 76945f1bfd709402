"""Successive halving: many alternatives are trained briefly, the better ones again for longer.

Each training is whole, from nothing and with the schedule of its own length: what wins is the very run
that a comparison without halving would have made, and a ledger's lines are ordinary runs. Going on
where a shorter training ended would take its rate up again, and compare what was trained in pieces
with what was not.

Jamieson & Talwalkar 2016, arXiv:1502.07943.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rung:
    """One round of a search.

    Attributes
    ----------
    epochs : int or None
        Of each of its trainings; None is all that an ordinary one has.
    candidates : int
        Alternatives that are trained.
    """

    epochs: int | None
    candidates: int


def rungs(candidates: int, epochs: int, factor: int) -> tuple[Rung, ...]:
    """Plan rounds that each keep the best 1 of `factor` and give it `factor` times the epochs.

    The last one has all epochs; where these, or the candidates, are too few for more rounds it has
    more than one candidate.

    >>> rungs(9, 36, 3)
    (Rung(epochs=4, candidates=9), Rung(epochs=12, candidates=3), Rung(epochs=None, candidates=1))
    >>> rungs(9, 5, 3)
    (Rung(epochs=1, candidates=9), Rung(epochs=None, candidates=3))
    """
    rounds = 0
    while factor ** (rounds + 1) <= min(candidates, epochs):
        rounds += 1
    before = (
        Rung(epochs // factor ** (rounds - number), candidates // factor**number)
        for number in range(rounds)
    )
    return (*before, Rung(None, candidates // factor**rounds))


def best(scores: Mapping[str, float], count: int) -> tuple[str, ...]:
    """So many of the highest scores, the best first; of equals the first.

    >>> best({"a": 0.5, "b": 0.7, "c": 0.5}, 2)
    ('b', 'a')
    """
    return tuple(sorted(scores, key=lambda name: -scores[name])[:count])

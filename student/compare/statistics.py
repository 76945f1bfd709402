"""Means, spreads and paired differences with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
BISECTIONS = 60  # more than the bits of a double


@dataclass(frozen=True, slots=True)
class Paired:
    """Differences of pairs.

    Attributes
    ----------
    differences : tuple of float
    mean : float
    half_width : float or None
        Of the 95 % interval of the mean, by Student's t; None for a single pair.
    """

    differences: tuple[float, ...]
    mean: float
    half_width: float | None

    @property
    def wins(self) -> int:
        """Pairs with a difference above 0."""
        return sum(difference > 0 for difference in self.differences)


def mean(values: Sequence[float]) -> float:
    """Average of at least one value."""
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float | None:
    """Standard deviation of a sample, by n - 1; None for a single value.

    >>> deviation([1.0, 2.0, 3.0])
    1.0
    """
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Paired:
    """Compare values pair by pair, `ours` minus `theirs`; at least one pair."""
    differences = tuple(a - b for a, b in zip(ours, theirs, strict=True))
    spread, count = deviation(differences), len(differences)
    half = None if spread is None else t_quantile(count - 1) * spread / math.sqrt(count)
    return Paired(differences, mean(differences), half)


def t_quantile(degrees: int, confidence: float = CONFIDENCE) -> float:
    """Bound that Student's t of so many degrees of freedom stays within, in absolute value.

    >>> round(t_quantile(2), 3)
    4.303
    """
    low, high = 0.0, math.pi / 2
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _within(angle: float, degrees: int) -> float:
    """Probability that ``|t| <= sqrt(degrees) * tan(angle)``.

    The finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    cosine, odd = math.cos(angle), degrees % 2
    term = cosine if odd else 1.0
    total = 0.0
    for power in range(1 + odd, degrees, 2):
        total += term
        term *= cosine**2 * power / (power + 1)
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total

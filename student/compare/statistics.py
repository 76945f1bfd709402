"""Means, spreads and paired differences with their intervals.

Shape suffixes: S seeds, N clips.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
MIN_PAIRS = (
    3  # two show next to nothing of their spread: their interval may have length 0 by chance
)
BISECTIONS = 60  # more than the bits of a double


@dataclass(frozen=True, slots=True)
class Paired:
    """Differences of pairs.

    Attributes
    ----------
    differences : tuple of float
    mean : float
    half_width : float or None
        Of the 95 % interval of the mean; None for fewer than three pairs.
    """

    differences: tuple[float, ...]
    mean: float
    half_width: float | None

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.half_width is not None and abs(self.mean) > self.half_width

    @property
    def wins(self) -> int:
        """Pairs with a difference above 0."""
        return sum(difference > 0 for difference in self.differences)


def mean(values: Sequence[float]) -> float:
    """Average of at least one value."""
    return math.fsum(values) / len(values)


def standard_deviation(values: Sequence[float]) -> float | None:
    """Standard deviation of a sample, by n - 1; None for a single value.

    >>> standard_deviation([1.0, 2.0, 3.0])
    1.0
    """
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Paired:
    """Compare values pair by pair, `ours` minus `theirs`; at least one pair.

    The interval is Student's t over the pairs: of seeds it counts how trainings differ, not which
    clips happened to be tested.
    """
    differences = tuple(a - b for a, b in zip(ours, theirs, strict=True))
    spread, count = standard_deviation(differences), len(differences)
    half = None
    if spread is not None and count >= MIN_PAIRS:
        half = t_quantile(count - 1) * spread / math.sqrt(count)
    return Paired(differences, mean(differences), half)


def paired_by_clip(ours_SN: NDArray[np.bool_], theirs_SN: NDArray[np.bool_]) -> Paired:
    """Compare which clips two students have right, seed by seed; at least one seed and two clips.

    The interval counts both that another seed trains otherwise and that other clips might have been
    tested. Seeds and clips are crossed random effects: with mean squares M_s of seeds, M_n of clips
    and M_sn of what is left, the mean of all S · N differences has the variance
    (M_s + M_n - M_sn) / (S · N), Satterthwaite's degrees of freedom, and here never less than either
    effect alone gives.

    Parameters
    ----------
    ours_SN, theirs_SN : bool, shape (S, N)
        Whether each seed's student has each clip right; row s and column n are the same seed and clip
        on both sides.
    """
    difference_SN = ours_SN.astype(np.float64) - theirs_SN
    seeds, clips = difference_SN.shape
    of_seed_S, of_clip_N = difference_SN.mean(1), difference_SN.mean(0)
    middle = float(difference_SN.mean())
    differences = tuple(of_seed_S.tolist())
    if seeds < MIN_PAIRS:
        return Paired(differences, middle, None)
    left_SN = difference_SN - of_seed_S[:, None] - of_clip_N[None] + middle
    by_seed = clips * float(((of_seed_S - middle) ** 2).sum()) / (seeds - 1)
    by_clip = seeds * float(((of_clip_N - middle) ** 2).sum()) / (clips - 1)
    rest = float((left_SN**2).sum()) / ((seeds - 1) * (clips - 1))
    half = max(
        _half_width(by_seed + by_clip - rest, [(by_seed, seeds - 1), (by_clip, clips - 1),
                                               (rest, (seeds - 1) * (clips - 1))], seeds * clips),
        _half_width(by_seed, [(by_seed, seeds - 1)], seeds * clips),
        _half_width(by_clip, [(by_clip, clips - 1)], seeds * clips),
    )  # fmt: skip
    return Paired(differences, middle, half)


def _half_width(square: float, parts: Sequence[tuple[float, int]], count: int) -> float:
    """Half an interval from a mean square that is a sum of others, each with its degrees."""
    if square <= 0:
        return 0.0
    degrees = square**2 / math.fsum(part**2 / degree for part, degree in parts)
    return t_quantile(max(1, math.floor(degrees + 1e-9))) * math.sqrt(square / count)


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

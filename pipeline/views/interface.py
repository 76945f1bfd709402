"""What a view step is, what it works on, and what steps check of their options alike.

Shape suffixes: S samples, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from cache_schema.store.address import CachePath

# 10 to the 5th in amplitude: more drowns or deafens, and far more leaves float32.
MAX_DB = 100.0
# A day: no clip is longer, and its samples are still counted.
MAX_SECONDS = 86_400.0
# In place of a label: nobody annotated the clip.
UNKNOWN = -1

Drawn = tuple[float, ...]
Waveform = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ViewContext:
    """What steps are prepared with.

    Attributes
    ----------
    corpus_root : Path or Address
        Where a step finds files that belong to the corpus, such as noise recordings.
    sample_rate_hz : int
        Rate of the waveforms.
    train_clips : range
        Positions of the clips of the split ``train``, from which partners are drawn.
    clip : callable
        The clip at a position.
    labels : callable
        Multi-hot labels (C,) of a clip, `UNKNOWN` throughout where it is unlabelled.
    """

    corpus_root: CachePath
    sample_rate_hz: int
    train_clips: range
    clip: Callable[[int], Clip]
    labels: Callable[[Clip], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class AudioView:
    """A clip on its way through the steps.

    Attributes
    ----------
    waveform_S : ndarray, float32
        The waveform so far.
    start, stop : int
        The samples of it that hold the clip itself.
    labels_C : ndarray, float32
        What is true of it: multi-hot, or mixed by a partner's share; or `UNKNOWN` throughout.
    split : str
        The clip's.
    """

    waveform_S: Waveform
    start: int
    stop: int
    labels_C: NDArray[np.float32]
    split: str


class ViewStep(Protocol):
    """One step of a recipe. What it draws is kept apart from what it does with it.

    Attributes
    ----------
    draws : tuple of str
        Names of the numbers that it draws for every view.
    changes_length, draws_length, mixes_labels : bool
        Whether views differ in length from their clips, whether that depends on what was drawn, and
        whether labels change.
    notes : sequence of str, optional
        What a user should know of what `prepare` found.
    example : str, optional
        The step as ``--view`` takes it, with the options that it needs, for clips of a tenth of a
        second and a folder ``noise``; only for a step that cannot do without options.
    """

    draws: tuple[str, ...]
    changes_length: bool
    draws_length: bool
    mixes_labels: bool

    def prepare(self, context: ViewContext) -> dict[str, Any]:
        """Load what the step needs; returns the facts that identify it (JSON, no machine path)."""

    def draw(self, samples: int, split: str, random: np.random.Generator) -> Drawn:
        """Draw a number for each name in `draws`, for a clip of this length and split."""

    def length(self, samples: int, drawn: Drawn) -> int:
        """Return how long a clip of `samples` becomes; `drawn` is read by steps that draw it."""

    def apply(self, audio: AudioView, drawn: Drawn) -> AudioView:
        """Do to a clip what was drawn."""


class PlainStep:
    """A step that keeps the length and the labels of a clip."""

    changes_length = False
    draws_length = False
    mixes_labels = False
    notes: Sequence[str] = ()

    def prepare(self, context: ViewContext) -> dict[str, Any]:
        """Nothing to load."""
        return {}

    def length(self, samples: int, drawn: Drawn) -> int:
        """As long as before."""
        return samples


class FixedLengthStep(PlainStep):
    """A step that brings clips towards a length, and draws where the shorter begins in the longer.

    Parameters
    ----------
    length_s : float
        The length in seconds.
    """

    draws = ("start_s",)
    changes_length = True

    def __init__(self, *, length_s: float) -> None:
        check_seconds(type(self).__name__.lower(), "length_s", length_s)
        self.length_s = length_s
        self.rate_hz = 0

    def prepare(self, context: ViewContext) -> dict[str, Any]:
        """Remember the rate."""
        self.rate_hz = context.sample_rate_hz
        return {}

    def draw(self, samples: int, split: str, random: np.random.Generator) -> Drawn:
        """Draw where the shorter of the two begins."""
        room = abs(samples - self.length(samples, ()))
        return (int(random.integers(room + 1)) / self.rate_hz,)


def check_range(step: str, low_db: float, high_db: float) -> None:
    """Reject a range of decibels that nothing can be drawn from.

    Raises
    ------
    UsageError
        With both ends.
    """
    if not -MAX_DB <= low_db <= high_db <= MAX_DB:
        raise UsageError(
            f"view {step}: low_db={low_db} and high_db={high_db} must be a range within "
            f"{-MAX_DB:g} to {MAX_DB:g}",
            kind="options",
        )


def check_seconds(step: str, option: str, seconds: float) -> None:
    """Reject a stretch of time that is none.

    Raises
    ------
    UsageError
        With the value.
    """
    if not 0 < seconds <= MAX_SECONDS:
        raise UsageError(
            f"view {step}: {option} must be seconds above 0, at most {MAX_SECONDS:g}, got {seconds}",
            kind="options",
        )

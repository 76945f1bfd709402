"""What the rows of a work unit are made of: clips of the corpus, or a cached waveform."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip import Clip
from cache_schema.clip_table import ClipTable
from cache_schema.metadata import PartPlan
from cache_schema.reader import SealedPart
from cache_schema.signal_names import FULL_SCALE, VIEW_DRAWS, VIEW_LABELS, WAVEFORM
from cache_schema.store.address import CachePath
from cache_schema.store.arrays import Array
from cache_schema.writer import UnitRow
from pipeline.audio.decode import UnusableAudio, resampled_length
from pipeline.corpora.clip_audio import decode_clip
from pipeline.precompute.plan import decoded_samples, taken_lengths, view_lengths
from pipeline.teachers.interface import Teacher
from pipeline.views import View, ViewRecipe

ROUNDED_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """The 16-bit samples of one row, as student and teachers get them, at the cache's rate.

    `of_view` has what a cache keeps of the view itself: what was drawn, and its labels.
    """

    samples_S: NDArray[np.int16]
    gain: float
    source_sha256: str
    of_view: Mapping[str, Array] = field(default_factory=dict)


PrepareRow = Callable[[int], PreparedClip | UnitRow]
"""Prepares one row of a work unit, or gives the reason of its quarantine."""


class CorpusRows:
    """Rows that are decoded from the corpus and made into their views.

    Parameters
    ----------
    root : Path or Address
        Folder of the corpus.
    clips : ClipTable
        Of the cache.
    teacher : Teacher
        Whose lengths are accepted.
    waveform_hz : int
        Rate of the cached waveform.
    recipe : ViewRecipe
        Makes the views.
    """

    def __init__(
        self,
        root: CachePath,
        clips: ClipTable,
        teacher: Teacher,
        waveform_hz: int,
        recipe: ViewRecipe,
    ) -> None:
        self._root, self._clips, self._teacher = root, clips, teacher
        self._waveform_hz, self._recipe = waveform_hz, recipe

    def of_unit(self, plan: PartPlan, number: int) -> PrepareRow:
        """Give what prepares the rows of a unit."""
        units = plan.units
        first, view = units.first_clip[number], units.view[number]
        clips = self._clips.clips(first, first + units.rows[number])
        views = range(view, view + 1)
        planned = view_lengths(clips, self._teacher, self._waveform_hz, self._recipe, views)[0]
        return lambda row: self._prepare(clips[row], int(planned[row]), view)

    def _prepare(self, clip: Clip, planned: int, view: int) -> PreparedClip | UnitRow:
        """Decode a clip and make its view of `planned` samples."""
        rate = self._teacher.sample_rate_hz
        try:
            decoded = decode_clip(self._root, clip, rate)
        except UnusableAudio as error:
            return UnitRow(reason=str(error))
        samples = len(decoded.waveform)
        expected = decoded_samples(clip, rate)
        if decoded.source_frames != clip.frames or (planned and samples != expected):
            reason = (
                f"decoded {decoded.source_frames} source samples, the plan has {clip.frames}: it was "
                "changed since, or its header is wrong"
            )
            return UnitRow(reason=reason, source_sha256=decoded.sha256)
        if not planned:
            length = int(self._recipe.lengths([clip], np.array([samples], np.int64), view)[0])
            return UnitRow(
                reason=_length_problem(length, self._teacher), source_sha256=decoded.sha256
            )
        try:
            made = self._recipe.make(decoded.waveform, clip, view)
        except UnusableAudio as error:
            return UnitRow(reason=str(error), source_sha256=decoded.sha256)
        return _to_int16(made, decoded.sha256)


class CachedRows:
    """Rows whose waveform an earlier part holds.

    Parameters
    ----------
    base : SealedPart
        That part; it has the same units.
    teacher, waveform_hz
        As for `CorpusRows`.
    """

    def __init__(self, base: SealedPart, teacher: Teacher, waveform_hz: int) -> None:
        self._base, self._teacher, self._waveform_hz = base, teacher, waveform_hz

    def of_unit(self, plan: PartPlan, number: int) -> PrepareRow:
        """Give what prepares the rows of a unit."""
        usable = self._base.usable(number)
        place = np.cumsum(usable) - 1
        waveforms = self._base.read(WAVEFORM, number, usable)

        def prepare(row: int) -> PreparedClip | UnitRow:
            if not usable[row]:
                return UnitRow(reason="quarantined in the first part")
            samples_S, teacher = waveforms[int(place[row])], self._teacher
            samples = resampled_length(len(samples_S), self._waveform_hz, teacher.sample_rate_hz)
            if teacher.min_samples <= samples <= (teacher.max_samples or samples):
                return PreparedClip(samples_S, 1.0, "")
            return UnitRow(reason=_length_problem(samples, teacher))

        return prepare


def _length_problem(samples: int, teacher: Teacher) -> str:
    length_s = samples / teacher.sample_rate_hz
    return f"{length_s:.10g} s long; teacher {teacher.family} takes {taken_lengths(teacher)}"


def _to_int16(made: View, source_sha256: str) -> PreparedClip:
    """Limit a view to full scale and round it to the samples that student and teacher get."""
    peak = float(np.abs(made.waveform_S).max()) * FULL_SCALE
    gain = 1.0 if peak <= FULL_SCALE - 1 else (FULL_SCALE - 1) / peak
    samples_S = np.empty(len(made.waveform_S), np.int16)
    for first in range(0, len(samples_S), ROUNDED_AT_ONCE):  # or it would lie in memory as float64
        block = slice(first, first + ROUNDED_AT_ONCE)
        exact_S = made.waveform_S[block].astype(np.float64)
        samples_S[block] = np.round(exact_S * FULL_SCALE * gain)
    of_view: dict[str, Array] = {
        VIEW_DRAWS: made.drawn_P,
        VIEW_LABELS: made.labels_C.astype(np.float16),
    }
    return PreparedClip(samples_S, gain, source_sha256, of_view)

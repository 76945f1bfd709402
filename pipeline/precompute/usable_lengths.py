"""Stop a request none of whose clips the teacher takes, before anything is computed."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence

import numpy as np

from cache_schema.clip import Clip
from cache_schema.errors import UsageError
from cache_schema.text import shell_word
from pipeline.precompute.plan import (
    decoded_samples,
    length_limits_s,
    taken_lengths,
    teacher_input_lengths,
)
from pipeline.teachers.interface import Teacher
from pipeline.views import ViewRecipe


def check_some_clip_fits(
    corpus: str,
    clips: Sequence[Clip],
    teacher: Teacher,
    waveform_hz: int,
    recipe: ViewRecipe,
    *,
    further: bool,
    split: str = "",
) -> None:
    """Reject clips of which the teacher takes none in the first view, by their headers.

    Parameters
    ----------
    corpus : str
        The first one as the user named it, or ``"CORPUS"``, for messages.
    clips : sequence of Clip
        Those that cannot be read are passed over; where none can be, that is another's finding.
    teacher, waveform_hz, recipe
        As for `pipeline.precompute.plan.view_lengths`.
    further : bool
        The teacher is added to a cache, whose clips and views stay as they are.
    split : str
        The one that the clips are of, if not of all.

    Raises
    ------
    UsageError
        Kind ``"lengths"``, with the lengths of the clips, those that the teacher takes, and what to do.
    """
    readable = [clip for clip in clips if clip.frames]
    unvaried = np.array([decoded_samples(clip, waveform_hz) for clip in readable], np.int64)
    varied = recipe.lengths(readable, unvaried, 0)
    if not readable or teacher_input_lengths(varied, teacher, waveform_hz).any():
        return
    own_s = [clip.frames / clip.source_rate_hz for clip in readable]
    found = _range_s(own_s)
    way = _way_out(corpus, own_s, teacher, decoded=bool(unvaried.all()))
    if teacher_input_lengths(unvaried, teacher, waveform_hz).any():
        steps = " ".join(f"--view {step}" for step in recipe.length_steps)
        found += f", and their views {_range_s((varied / waveform_hz).tolist())}"
        way = f"Give {steps} other lengths or leave it out"
    if further:
        way = "Add another --teacher, or make a new cache of clips that both teachers take"
    raise UsageError(
        f"none of the {len(readable)} {f'{split} clips'.lstrip()} that can be read is of a length that "
        f"the teacher takes, {taken_lengths(teacher)}: by their headers they are of {found}. {way}, and "
        "repeat the command",
        kind="lengths",
    )


def _way_out(corpus: str, own_s: Sequence[float], teacher: Teacher, *, decoded: bool) -> str:
    """What brings clips to a length that a teacher takes; one too long to be decoded is not cropped."""
    shortest_s, longest_s = length_limits_s(teacher)
    found = []
    if max(own_s) > longest_s:
        window_s = math.floor(longest_s) or longest_s  # whole seconds are whole samples at any rate
        crop = f", or keep a stretch of each with --view crop:length_s={window_s:g}"
        windows = shell_word(_with_windows(corpus, f"window_s={window_s:g}"))
        found.append(f"Cut long clips into windows with {windows}{crop if decoded else ''}")
    if min(own_s) < shortest_s:
        length_s = min(longest_s, max(1.0, shortest_s))
        found.append(f"Put short clips into silence with --view placement:length_s={length_s:g}")
    return "; ".join(found) or "Give other clips"


def _with_windows(corpus: str, option: str) -> str:
    """Name a corpus with windows of another length.

    >>> _with_windows("folder:a?window_s=60&ids=path", "window_s=30"), _with_windows("esc:a", "b=1")
    ('folder:a?window_s=30&ids=path', 'esc:a?b=1')
    """
    if re.search(r"[?&]window_s=", corpus):
        return re.sub(r"(?<=[?&])window_s=[^&]*", option, corpus)
    return f"{corpus}{'&' if '?' in corpus else '?'}{option}"


def _range_s(seconds: Collection[float]) -> str:
    shortest, longest = f"{min(seconds):.10g} s", f"{max(seconds):.10g} s"
    return shortest if shortest == longest else f"{shortest} to {longest}"

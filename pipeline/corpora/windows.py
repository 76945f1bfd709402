"""Long recordings cut into windows of one length, whatever kind of corpus they come from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cache_schema.clip import Clip
from cache_schema.errors import MAX_LISTED, UsageError, bullet_list
from pipeline.corpora.events import check_inside, labels_within
from pipeline.corpora.interface import Corpus, Event

# A frame at the lowest rate that is read; nearer windows would be the same.
MIN_HOP_S = 1e-3


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How to cut: the options ``?window_s=10&overlap_s=5`` of every kind of corpus.

    Windows begin every ``window_s - overlap_s`` seconds and are all equally long, so that they go
    through a teacher in full batches. What is left at the end is dropped if it is shorter than half
    of that step; else it gets a window that ends with the recording and overlaps the last one more.

    Attributes
    ----------
    window_s : float
        Length of a window; clips that are not longer stay as they are.
    overlap_s : float
        What two windows share, from 0 to 1 ms less than a window.

    Raises
    ------
    UsageError
        With both values, if they are no such lengths.
    """

    window_s: float
    overlap_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap_s <= self.window_s - MIN_HOP_S < math.inf:
            raise UsageError(
                "window_s must be seconds and overlap_s at least 0 and 1 ms below it, got "
                f"window_s={self.window_s} and overlap_s={self.overlap_s}",
                kind="options",
            )

    def cut(self, corpus: Corpus) -> Corpus:
        """Replace the clips that are longer than a window by their windows.

        A window has the split of its recording, and its labels, or those of the events that lie in it;
        it is called ``ID#START``, START being its first second in the file.

        Raises
        ------
        UsageError
            If a window would have the id of another clip.
        """
        notes = check_inside(corpus)
        clips, dropped_s, long = [], 0.0, 0
        for clip in corpus.clips:
            starts = self._starts(clip)
            if not starts:
                clips.append(clip)
                continue
            long += 1
            length = self._frames(clip)
            events = corpus.events.get(clip.id)
            clips += [_window(clip, start, length, events) for start in starts]
            dropped_s += (clip.frames - starts[-1] - length) / clip.source_rate_hz
        _check_no_duplicates(clips)
        labels = (
            "the labels of the events in it" if corpus.events else "all labels of its recording"
        )
        note = (
            f"{long} of {len(corpus.clips)} clips are longer than {self.window_s:g} s and cut into "
            f"{len(clips) - len(corpus.clips) + long} windows, each with {labels}; "
            f"{dropped_s:.1f} s at their ends dropped"
        )
        return replace(corpus, clips=tuple(clips), notes=(*corpus.notes, note, *notes), events={})

    def _frames(self, clip: Clip) -> int:
        return round(self.window_s * clip.source_rate_hz)

    def _starts(self, clip: Clip) -> list[int]:
        """First frames of a clip's windows, counted from its own; none if it needs no cutting."""
        length = self._frames(clip)
        if clip.frames <= length:
            return []
        hop = round((self.window_s - self.overlap_s) * clip.source_rate_hz)
        starts = list(range(0, clip.frames - length + 1, hop))
        rest = clip.frames - starts[-1] - length
        return [*starts, clip.frames - length] if 2 * rest >= hop else starts


def _window(clip: Clip, start: int, frames: int, events: Sequence[Event] | None) -> Clip:
    """Cut one window; its ends are whole frames, so that all windows are equally long."""
    rate_hz = clip.source_rate_hz
    first = round(clip.start_s * rate_hz) + start
    if events is not None:
        labels = labels_within(events, first / rate_hz, (first + frames) / rate_hz)
        clip = replace(clip, labels=labels, none_present=not labels)
    return replace(
        clip,
        id=f"{clip.id}#{first / rate_hz:.10g}",
        start_s=first / rate_hz,
        end_s=(first + frames) / rate_hz,
        frames=frames,
    )


def _check_no_duplicates(clips: list[Clip]) -> None:
    """Reject windows named like a clip that the corpus has already."""
    doubles = [name for name, count in Counter(clip.id for clip in clips).items() if count > 1]
    if doubles:
        raise UsageError(
            f"{len(doubles)} windows have the ids of other clips\n"
            f"{bullet_list(map(repr, doubles), MAX_LISTED)}\n"
            "Give the clips ids without '#', then repeat the command.",
            kind="corpus",
        )

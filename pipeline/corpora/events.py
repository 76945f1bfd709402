"""Lists of events: what sounds from when to when; windows have those that lie in them as labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pipeline.corpora.interface import Entry, Event, Ids, clip_name
from pipeline.corpora.walk import printable

# Of an event, or of the window if that is shorter: so much of it must lie in a window to be its label.
SHARE = 0.5


def recordings_of(
    entries: Iterable[Entry], ids: Ids
) -> tuple[list[Entry], dict[str, tuple[Event, ...]]]:
    """Make an entry of each recording, and list its events by its id.

    Parameters
    ----------
    entries : iterable of Entry
        An event each, as a stretch with labels; one without a label stands for no event.
    ids : str
        As of `clip_name`.
    """
    found: dict[tuple[str, str, str], tuple[Entry, list[Event]]] = {}
    for entry in entries:
        clip = entry.clip
        whole = replace(clip, id=clip_name(clip.path, ids), start_s=0.0, end_s=None)
        _, events = found.setdefault(
            (clip.path, clip.split, clip.group), (Entry(whole, entry.place), [])
        )
        if clip.labels:
            end_s = math.inf if clip.end_s is None else clip.end_s
            events.append(Event(clip.start_s, end_s, clip.labels))
    recordings = [
        Entry(
            replace(one.clip, labels=(names := _names(events)), none_present=not names), one.place
        )
        for one, events in found.values()
    ]
    return recordings, {one.clip.id: tuple(events) for one, events in found.values()}


def labels_within(events: Sequence[Event], start_s: float, end_s: float) -> tuple[str, ...]:
    """Labels of the events of which half, or half of the stretch, lies in a stretch.

    Examples
    --------
    >>> events = [Event(0.0, 3.0, ("dog",)), Event(2.0, 9.0, ("rain",)), Event(4.9, 5.1, ("cat",))]
    >>> labels_within(events, 0.0, 5.0), labels_within(events, 5.0, 10.0)
    (('dog', 'rain', 'cat'), ('rain', 'cat'))
    """
    inside = []
    for event in events:
        shared_s = min(event.end_s, end_s) - max(event.start_s, start_s)
        shorter_s = min(event.end_s - event.start_s, end_s - start_s)
        # What is half to a microsecond is half: seconds in lists are rounded.
        if shared_s > 0 and shared_s >= SHARE * shorter_s - 1e-6:
            inside.append(event)
    return _names(inside)


def _names(events: Iterable[Event]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label for event in events for label in event.labels))


def overlapping(entries: Iterable[Entry]) -> list[str]:
    """Note stretches of a recording that lie over others with other labels, which they lack."""
    by_path: dict[str, list[Entry]] = {}
    for entry in entries:
        by_path.setdefault(entry.clip.path, []).append(entry)
    count, first = 0, ""
    for path, own in by_path.items():
        last_s, labels = -math.inf, frozenset[str]()
        for clip in sorted((entry.clip for entry in own), key=lambda clip: clip.start_s):
            if clip.start_s < last_s and not labels >= set(clip.labels):
                count, first = count + 1, first or path
            end_s = math.inf if clip.end_s is None else clip.end_s
            if end_s > last_s:
                last_s, labels = end_s, frozenset(clip.labels)
    if not count:
        return []
    note = (
        f"{count} stretch(es) begin inside another with other labels, first of {printable(first)}: each "
        "has its own labels alone. If rows are events of a recording, add ?rows=event&window_s=5"
    )
    return [note]

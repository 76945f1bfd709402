"""Lists of events: what sounds from when to when; windows have those that lie in them as labels."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from cache_schema.errors import UsageError
from cache_schema.store.address import CachePath
from cache_schema.store.objects import objects_of
from pipeline.corpora.interface import Corpus, Entry, Event, Ids, clip_name
from pipeline.corpora.walk import printable

# Of an event, or of the window if that is shorter: so much of it must lie in a window to be its label.
SHARE = 0.5
# An event that begins so many times behind the end of its recording may be in milliseconds.
OTHER_UNIT = 100
# An event that ends so far behind is longer than what was recorded, and not rounded.
OVER_S = 1.0


def recordings_of(
    entries: Iterable[Entry], ids: Ids, problems: list[str]
) -> tuple[list[Entry], dict[str, tuple[Event, ...]]]:
    """Make an entry of each recording, and list its events by its id.

    Parameters
    ----------
    entries : iterable of Entry
        An event each, as a stretch with labels; one without a label stands for no event.
    ids : str
        As of `clip_name`.
    problems : list of str
        Grows by recordings whose events differ in split or group, and if no event has a label.
    """
    found: dict[str, tuple[Entry, list[Event]]] = {}
    for entry in entries:
        path = os.path.normpath(entry.clip.path) if entry.clip.path else ""
        name = clip_name(path, ids)
        whole = replace(entry.clip, id=name, path=path, start_s=0.0, end_s=None)
        first, events = found.setdefault(path, (Entry(whole, entry.place), []))
        problems += [
            f"{entry.place}: {printable(path)} is in {what} {printable(own) or 'none'}, an earlier "
            f"event of it in {printable(other) or 'none'}: a recording as a whole is in one"
            for what, own, other in (
                ("split", whole.split, first.clip.split),
                ("group", whole.group, first.clip.group),
            )
            if own != other
        ]
        if entry.clip.labels:
            end_s = math.inf if entry.clip.end_s is None else entry.clip.end_s
            events.append(Event(entry.clip.start_s, end_s, entry.clip.labels))
    if found and not any(events for _, events in found.values()):
        problems.append("no row names what sounds: rows=event takes labels from start_s to end_s")
    recordings = []
    for one, events in found.values():
        names = _names(events)
        clip = replace(one.clip, labels=names, none_present=not names)
        recordings.append(Entry(clip, one.place))
    return recordings, {one.clip.id: tuple(events) for one, events in found.values()}


def spelled_twice(folder: CachePath, recordings: Iterable[Entry]) -> list[str]:
    """Name recordings that are listed in two spellings: events under one would be missing in the other.

    Two files may differ in case; where both are there, each has its own events.
    """
    first: dict[str, Entry] = {}
    problems = []
    for one in recordings:
        key = unicodedata.normalize("NFC", one.clip.path).casefold()
        other = first.setdefault(key, one)
        if other is not one and not _are_two_files(folder, one.clip.path, other.clip.path):
            problems.append(
                f"{one.place}: {printable(one.clip.path)} is {printable(other.clip.path)} of "
                f"{other.place} in other letters: write both alike, or the events of one are missing "
                "from the recording"
            )
    return problems


def _are_two_files(folder: CachePath, one: str, other: str) -> bool:
    if not isinstance(folder, Path):
        return all(objects_of(folder).exists(path) for path in (one, other))
    paths = folder / one, folder / other
    return all(path.exists() for path in paths) and not paths[0].samefile(paths[1])


def check_inside(corpus: Corpus) -> list[str]:
    """Note events that begin behind the end of their recording, as those in milliseconds do.

    Raises
    ------
    UsageError
        If all do.
    """
    behind, count = [], 0
    over: list[tuple[float, float, str]] = []
    for clip in corpus.clips:
        events = corpus.events.get(clip.id, ()) if clip.frames else ()
        length_s = clip.frames / max(clip.source_rate_hz, 1)
        count += len(events)
        behind += [
            (event.start_s, length_s, clip.id) for event in events if event.start_s >= length_s
        ]
        over += [
            (event.end_s, length_s, clip.id)
            for event in events
            if event.start_s < length_s < event.end_s - OVER_S and event.end_s < math.inf
        ]
    if not behind:
        return _ends_behind(over, count)
    start_s, length_s, name = behind[0]
    note = (
        f"{len(behind)} of {count} events begin behind the end of their recording, first of "
        f"{printable(name)}: at {start_s:.10g} s, where the recording ends at {length_s:.10g} s "
        "(times count from the beginning of each file, not of the first of several)"
    )
    if len(behind) == count:
        far = any(start_s > OTHER_UNIT * length_s for start_s, length_s, _ in behind)
        hint = "; divide milliseconds by 1000" if far else ""
        raise UsageError(f"{note}. start_s and end_s are seconds{hint}", kind="corpus")
    return [f"warning: {note}: no window has them", *_ends_behind(over, count)]


def _ends_behind(over: Sequence[tuple[float, float, str]], count: int) -> list[str]:
    """Note events that are longer than what is left of their recording: a logger cuts some."""
    if not over:
        return []
    end_s, length_s, name = over[0]
    note = (
        f"{len(over)} of {count} events end behind the end of their recording, first of "
        f"{printable(name)}: at {end_s:.10g} s, where the recording ends at {length_s:.10g} s. They are "
        "taken up to there"
    )
    return [note]


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
            again = clip.start_s == 0 and clip.end_s is None and last_s == math.inf  # all of it
            if clip.start_s < last_s and not labels >= set(clip.labels) and not again:
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

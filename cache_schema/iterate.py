"""The clips of a cache one by one, with their signals as NumPy arrays: for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UsageError
from cache_schema.reader import Cache


@dataclass(frozen=True, slots=True)
class CachedClip:
    """A clip in one view.

    Attributes
    ----------
    id, split, view
        Of the clip.
    labels : tuple of str
        Its classes; empty where it is unlabelled, or has none of the classes.
    signals : dict of str to ndarray
        The requested signals. Framed ones have the frames first; see `Cache.signals` for their hop.
    """

    id: str
    split: str
    view: int
    labels: tuple[str, ...]
    signals: dict[str, NDArray[Any]]


def iterate_clips(
    cache: Cache, split: str, signals: Sequence[str] = (), *, view: int = 0
) -> Iterator[CachedClip]:
    """Read the usable clips of a split in one view, in the order of the cache.

    Parameters
    ----------
    cache : Cache
        As `open_cache` gives it.
    split : str
        One of ``cache.splits``.
    signals : sequence of str
        Names out of ``cache.signals``.
    view : int
        Views after the first exist for the split ``train`` only.

    Raises
    ------
    UsageError
        If the cache has no such split or view, or `signals` is a text.
    CacheError
        For a signal that the cache lacks, or damage; see `Cache.read_unit`.
    """
    if isinstance(signals, str):
        raise UsageError(
            f"signals is a sequence of names, got the text {signals!r}: write [{signals!r}]",
            kind="options",
        )
    units = cache.units(split, view)
    if not units:
        views = 1 + max(unit.view for unit in cache.units(split))
        raise UsageError(
            f"the split {split} of {cache.root} has {views} view(s), numbered from 0, got view={view}",
            kind="options",
        )
    for unit in units:
        rows = cache.read_unit(unit, signals)
        ids = cache.clip_ids(unit.first_clip, unit.first_clip + unit.rows)
        for row, clip in enumerate(rows.clip.tolist()):
            yield CachedClip(
                id=ids[clip - unit.first_clip],
                split=split,
                view=view,
                labels=tuple(cache.classes[c] for c in np.flatnonzero(rows.labels[row]).tolist()),
                signals={name: rows.signals[name][row] for name in signals},
            )

"""How rows are cut into work units: few, of a size that is read at once, with little padding.

A chunk is as long as the fullest unit of its signal needs, so whatever a unit holds less is padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.metadata import ENTRY_BYTES, Split, UnitTable

UNIT_BYTES = 20_000_000
# Chunks are longer where there would be more units than that, but never than a process holds several of.
MANY_UNITS = 50_000
MAX_CHUNK_BYTES = 64_000_000
# Smaller units are cut as long as more than these shares of the bytes would be padding, down to
# MIN_UNIT_BYTES: of each view of each split so much may be padding at any size.
MAX_PADDING, MAX_PADDING_OF_SMALL = 0.05, 0.1
SMALL_BYTES = 100_000_000
MIN_UNIT_BYTES = 1_000_000
SHRINK = 0.95


@dataclass(frozen=True, slots=True)
class SignalLayout:
    """How one signal is stored, and how many entries it needs along its ragged axis.

    `entries` has a row for each view of a part and a column for each clip.
    """

    name: str
    layout: Literal["fixed", "ragged", "square"]
    row_shape: tuple[int, ...]
    dtype: Literal["float16", "float32", "int16", "uint8", "uint16"]
    hop_s: float | None
    first_frame_s: float | None
    entries: NDArray[np.int64]

    @property
    def entry_bytes(self) -> int:
        """Bytes of one entry."""
        return ENTRY_BYTES[self.dtype] * math.prod(self.row_shape)


def cut_units(
    layouts: Sequence[SignalLayout], splits: Sequence[Split], views: range, max_rows: int
) -> UnitTable:
    """Cut rows into work units of at most `max_rows` rows and chunks within a limit.

    The limit is about 20 MB for the largest signal, up to 64 MB where there would be over 50,000 units.
    Units are as few as that allows, unless their chunks would be padded by more than a share: then they
    are as large as leaves less of it.
    """
    largest = max(int(layout.entries.sum()) * layout.entry_bytes for layout in layouts)
    limit = min(max(UNIT_BYTES, largest // (MANY_UNITS // 2)), MAX_CHUNK_BYTES)
    best = _cut(layouts, splits, views, limit, max_rows)
    least = padding_share(layouts, best, views.start)
    bound = MAX_PADDING if largest > SMALL_BYTES else MAX_PADDING_OF_SMALL
    fullest = max(
        int(needed_entries(layout, best, views.start).max()) * layout.entry_bytes
        for layout in layouts
    )
    rows, share = max(best.rows), SHRINK
    while least > bound and fullest * share >= MIN_UNIT_BYTES:
        table = _cut(layouts, splits, views, limit, max(1, int(rows * share)))
        share *= SHRINK
        padding = padding_share(layouts, table, views.start)
        if padding < least:
            best, least = table, padding
    return best


def padding_share(layouts: Sequence[SignalLayout], units: UnitTable, first_view: int) -> float:
    """Share of a part's bytes that hold no row."""
    held = stored = 0
    for layout in layouts:
        needed = needed_entries(layout, units, first_view)
        held += int(needed.sum()) * layout.entry_bytes
        stored += len(needed) * max(1, int(needed.max())) * layout.entry_bytes
    return 1 - held / stored


def needed_entries(layout: SignalLayout, units: UnitTable, first_view: int) -> NDArray[np.int64]:
    """Entries that the rows of each unit need, shape (units,)."""
    first, rows = np.array(units.first_clip), np.array(units.rows)
    if layout.layout == "fixed":
        return rows
    view = np.array(units.view) - first_view
    starts = np.pad(np.cumsum(layout.entries, axis=1), ((0, 0), (1, 0)))
    needed: NDArray[np.int64] = starts[view, first + rows] - starts[view, first]
    return needed


def _cut(
    layouts: Sequence[SignalLayout],
    splits: Sequence[Split],
    views: range,
    limit: int,
    max_rows: int,
) -> UnitTable:
    """Cut each view of each split by itself."""
    table: dict[str, list[Any]] = {"split": [], "view": [], "first_clip": [], "rows": []}
    for place, view in enumerate(views):
        row_bytes = np.stack([layout.entries[place] * layout.entry_bytes for layout in layouts])
        for split in splits:
            if view > 0 and split.name != "train":
                continue
            first, last = split.first_clip, split.first_clip + split.clips
            for start, stop in _even_cuts(row_bytes[:, first:last], limit, max_rows):
                entry = {"split": split.name, "view": view, "first_clip": first + start}
                for column, value in (entry | {"rows": stop - start}).items():
                    table[column].append(value)
    return UnitTable(**table)


def _even_cuts(row_bytes: NDArray[np.int64], limit: int, max_rows: int) -> list[tuple[int, int]]:
    """Cut into equal counts of rows, unless that takes more units than filling each one would.

    Every chunk is as long as the fullest unit needs, so a short last one would be stored in full.
    """
    full = _greedy_cuts(row_bytes, limit, max_rows)
    even = _greedy_cuts(row_bytes, limit, math.ceil(row_bytes.shape[1] / len(full)))
    return even if len(even) == len(full) else full


def _greedy_cuts(row_bytes: NDArray[np.int64], limit: int, max_rows: int) -> list[tuple[int, int]]:
    ends = np.cumsum(row_bytes, axis=1)
    cuts, start, count = [], 0, row_bytes.shape[1]
    before = np.zeros(len(row_bytes), np.int64)
    while start < count:
        fits = [
            int(np.searchsorted(e, b + limit, "right")) for e, b in zip(ends, before, strict=True)
        ]
        stop = max(start + 1, min(*fits, start + max_rows, count))
        cuts.append((start, stop))
        before, start = ends[:, stop - 1], stop
    return cuts

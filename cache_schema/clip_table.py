"""The table of clips of a cache: ids, paths, splits, labels and planned source frames.

Strings are UTF-8 bytes with offsets, labels are bit-packed. Rows are in the order of the plan:
clips of one split lie together. The columns of clips with none of the classes, and of groups, are there
if a clip has none, or a group.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip import Clip
from cache_schema.errors import CacheError
from cache_schema.metadata import Manifest
from cache_schema.store.address import CachePath
from cache_schema.store.arrays import Array, EagerArray, Put, create_group, write_whole

FOLDER = "clips"
NONE_PRESENT, GROUP = "none_present", "group"


def write_clip_table(put: Put, clips: Sequence[Clip], classes: Sequence[str]) -> None:
    """Put the objects of the table."""
    create_group(put, FOLDER)
    for name in ("id", "path", "split"):
        _write_strings(put, name, [getattr(clip, name) for clip in clips])
    write_whole(put, f"{FOLDER}/labels", _packed_labels(clips, classes))
    ends = [np.nan if c.end_s is None else c.end_s for c in clips]
    columns: dict[str, Array] = {
        "start_s": np.array([c.start_s for c in clips], np.float64),
        "end_s": np.array(ends, np.float64),
        "frames": np.array([c.frames for c in clips], np.int64),
        "source_rate_hz": np.array([c.source_rate_hz for c in clips], np.int32),
        NONE_PRESENT: np.array([clip.none_present for clip in clips], np.uint8),
    }
    for name, values in columns.items():
        if name != NONE_PRESENT or values.any():
            write_whole(put, f"{FOLDER}/{name}", values)
    if any(clip.group for clip in clips):
        _write_strings(put, GROUP, [clip.group for clip in clips])


def _packed_labels(clips: Sequence[Clip], classes: Sequence[str]) -> Array:
    """Multi-hot labels as bits, the first class in the highest; shape (clips, bytes)."""
    position = {name: i for i, name in enumerate(classes)}
    width = max(-(-len(classes) // 8), 1)
    packed = bytearray(len(clips) * width)
    for row, clip in enumerate(clips):
        for label in clip.labels:
            byte, bit = divmod(position[label], 8)
            packed[row * width + byte] |= 128 >> bit
    return np.frombuffer(packed, np.uint8).reshape(len(clips), width)


def _write_strings(put: Put, name: str, values: Sequence[str]) -> None:
    encoded = [value.encode() for value in values]
    offsets = np.concatenate([[0], np.cumsum([len(e) for e in encoded])]).astype(np.uint64)
    write_whole(put, f"{FOLDER}/{name}_offsets", offsets)
    write_whole(put, f"{FOLDER}/{name}_bytes", np.frombuffer(b"".join(encoded), np.uint8))


class ClipTable:
    """Reads the table; a column's objects are compared with the manifest when they are read.

    So no hole passes for data, and opening a cache costs nothing.

    Raises
    ------
    CacheError
        Kind ``"damaged"``, naming the object.
    """

    def __init__(self, root: CachePath, manifest: Manifest) -> None:
        self._root, self._manifest = root, manifest
        self._columns: dict[str, EagerArray] = {}
        self._opening = threading.Lock()

    def _column(self, name: str) -> EagerArray:
        with self._opening:
            if name not in self._columns:
                recorded = self._manifest.clip_table
                self._columns[name] = EagerArray(self._root, f"{FOLDER}/{name}", recorded)
            return self._columns[name]

    def strings(self, name: str, first: int, last: int) -> list[str]:
        """One text column (``id``, ``path``, ``split`` or ``group``) of clips ``first:last``."""
        offsets = self._column(f"{name}_offsets")[first : last + 1].astype(np.int64)
        data = self._column(f"{name}_bytes")[int(offsets[0]) : int(offsets[-1])].tobytes()
        edges = (offsets - offsets[0]).tolist()
        try:
            return [data[a:b].decode() for a, b in pairwise(edges)]
        except UnicodeDecodeError as error:
            raise CacheError(
                f"{FOLDER}/{name}_bytes is not UTF-8 text: {error}", kind="damaged"
            ) from None

    def labels(self, first: int, last: int) -> NDArray[np.uint8]:
        """Multi-hot labels of clips ``first:last``, shape (clips, classes)."""
        packed = self._column("labels")[first:last]
        return np.unpackbits(packed, axis=1, count=len(self._manifest.corpus.classes))

    def none_present(self, first: int, last: int) -> NDArray[np.bool_]:
        """Which of clips ``first:last`` are labelled with none of the classes, shape (clips,)."""
        if not self._has(NONE_PRESENT):
            return np.zeros(last - first, np.bool_)
        return self._column(NONE_PRESENT)[first:last].astype(np.bool_)

    def groups(self, first: int, last: int) -> list[str]:
        """Speaker, session or place of each of clips ``first:last``; empty where none is known."""
        has = self._has(f"{GROUP}_offsets")
        return self.strings(GROUP, first, last) if has else [""] * (last - first)

    def _has(self, column: str) -> bool:
        return f"{FOLDER}/{column}/zarr.json" in self._manifest.clip_table

    def clips(self, first: int, last: int) -> list[Clip]:
        """Whole clips ``first:last``."""
        columns: dict[str, Any] = {n: self.strings(n, first, last) for n in ("id", "path", "split")}
        numbers = ("start_s", "end_s", "frames", "source_rate_hz")
        columns |= {name: self._column(name)[first:last].tolist() for name in numbers}
        columns[NONE_PRESENT] = self.none_present(first, last).tolist()
        columns[GROUP] = self.groups(first, last)
        classes, hot = self._manifest.corpus.classes, self.labels(first, last)
        return [
            Clip(
                **{name: column[row] for name, column in columns.items() if name != "end_s"},
                end_s=None if np.isnan(columns["end_s"][row]) else columns["end_s"][row],
                labels=tuple(classes[i] for i in np.flatnonzero(hot[row]).tolist()),
            )
            for row in range(last - first)
        ]

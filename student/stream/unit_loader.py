"""Work units as the trainer holds them: features computed, signals in the student's class order.

Shape suffixes: B clips in batch, S samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import tee
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema.errors import CacheError
from cache_schema.frame_grid import FrameGrid
from cache_schema.front_ends import FRONT_ENDS, FrontEnd, frame_count, front_end_facts
from cache_schema.reader import Cache, Ragged, Unit, UnitRows
from cache_schema.signal_names import FULL_SCALE
from cache_schema.store.objects import ahead
from student.stream.batch import Batch, pad_rows
from student.stream.class_map import ClassMap
from student.stream.front_end import TorchFrontEnd

WAVEFORM = "waveform"
FRONT_END_ROWS = 32


@dataclass(frozen=True, slots=True)
class UnitData:
    """The usable rows of a unit, ready to be batched."""

    clips: NDArray[np.int64]
    labels: NDArray[np.float32]
    labelled: NDArray[np.bool_]
    features: Ragged
    feature_grid: FrameGrid
    signals: dict[str, Any]

    @property
    def size_bytes(self) -> int:
        """Memory held by features and signals."""
        arrays = [self.features, *self.signals.values()]
        return sum(a.values.nbytes if isinstance(a, Ragged) else a.nbytes for a in arrays)


RowRef = tuple[UnitData, int]
BUDGET_BYTES = 2 << 30


def collate(places: Sequence[RowRef]) -> Batch:
    """Build a batch of rows that may come from different units."""
    features_BTM, lengths_B = pad_rows([rows.features[row] for rows, row in places])
    names = places[0][0].signals
    signals = {name: pad_rows([rows.signals[name][row] for rows, row in places]) for name in names}
    labels = np.stack([rows.labels[row] for rows, row in places])
    return Batch(
        features_BTM=features_BTM,
        lengths_B=lengths_B,
        labels_BC=torch.from_numpy(labels),
        labelled_B=torch.tensor([bool(rows.labelled[row]) for rows, row in places]),
        signals={name: padded for name, (padded, _) in signals.items()},
        signal_lengths={name: lengths for name, (_, lengths) in signals.items()},
        clips=np.array([rows.clips[row] for rows, row in places], np.int64),
        feature_grid=places[0][0].feature_grid,
    )


class UnitLoader:
    """Reads units of a cache and applies the front end, keeping results while they fit a budget.

    Nothing changes a unit's features from epoch to epoch, so they are computed once. When the cache
    already holds them as a signal, that is read instead of the waveform.

    Parameters
    ----------
    cache : Cache
        An open cache.
    front_end : str
        Key of ``FRONT_ENDS``.
    signals : sequence of str
        Teacher signals to deliver, under the cache's names.
    class_maps : mapping of str to ClassMap
        For the signals that are logits, how to bring them into the student's order of classes.
    budget_bytes : int
        Memory for units kept from epoch to epoch; the first units to come stay.
    source : str, optional
        Which of :func:`feature_sources` to read; by default the first.

    Raises
    ------
    CacheError
        ``"missing_signal"`` if the cache has neither a waveform nor these features, ``"sample_rate"`` if
        its waveform has another rate than the front end takes.
    """

    def __init__(
        self,
        cache: Cache,
        front_end: str,
        signals: Sequence[str],
        *,
        class_maps: Mapping[str, ClassMap] | None = None,
        budget_bytes: int = BUDGET_BYTES,
        source: str | None = None,
    ) -> None:
        self.cache = cache
        self.front_end = FRONT_ENDS[front_end]
        self.source = source or feature_sources(cache, self.front_end)[0]
        self.signals = tuple(signals)
        self._twin = TorchFrontEnd(self.front_end)
        self.class_maps = class_maps or {}
        self._kept: dict[Unit, UnitData] = {}
        self._budget_bytes = budget_bytes

    def load(self, unit: Unit) -> UnitData:
        """Return the usable rows of a unit."""
        return self._prepared(unit, self._read(unit))

    def load_all(self, units: Iterable[Unit]) -> Iterator[UnitData]:
        """Load units in this order; from afar others are read ahead while one is prepared."""
        asked, read = tee(units)
        found = ahead(self._read, read, self.cache.reads_at_once)
        return map(self._prepared, asked, found)

    def _read(self, unit: Unit) -> UnitRows | UnitData:
        """A unit as it was kept, or as it is stored."""
        if unit in self._kept:
            return self._kept[unit]
        wanted = (self.source, *self.signals, *self.cache.target_signals)
        return self.cache.read_unit(unit, tuple(dict.fromkeys(wanted)))

    def _prepared(self, unit: Unit, read: UnitRows | UnitData) -> UnitData:
        if isinstance(read, UnitData):
            return read
        signals = {name: read.signals[name] for name in self.signals}
        for name, class_map in self.class_maps.items():
            signals[name] = class_map.apply(signals[name])
        features = self._features(read.signals[self.source])
        grid = FrameGrid(self.front_end.hop_s, self.front_end.first_frame_s)
        rows = UnitData(read.clip, read.targets, read.labelled, features, grid, signals)
        if rows.size_bytes <= self._budget_bytes:
            self._budget_bytes -= rows.size_bytes
            self._kept[unit] = rows
        return rows

    @torch.no_grad()
    def _features(self, stored: Any) -> Ragged:
        if self.source != WAVEFORM:
            found: Ragged = stored
            return found
        rows: list[NDArray[np.float32]] = []
        for first in range(0, len(stored), FRONT_END_ROWS):
            last = min(first + FRONT_END_ROWS, len(stored))
            waveform_BS, samples_B = pad_rows([stored[row] for row in range(first, last)])
            features_BTM, frames_B = self._twin(waveform_BS / FULL_SCALE, samples_B)
            pairs = zip(features_BTM, frames_B.tolist(), strict=True)
            rows += [features_TM[:frames].numpy() for features_TM, frames in pairs]
        starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        empty = np.zeros((0, self.front_end.features), np.float32)
        return Ragged(np.concatenate([empty, *rows]), starts)


def typical_frames(cache: Cache, front_end: str) -> int:
    """Median feature frames of a training clip, by the first training unit with a usable row.

    The rows of a split lie in random order, so any unit is a fair sample; 1 where there is none.
    """
    preset = FRONT_ENDS[front_end]
    source = feature_sources(cache, preset)[0]
    for unit in cache.units("train", 0) if "train" in cache.splits else ():
        lengths = [len(row) for row in cache.read_unit(unit, (source,)).signals[source]]
        if lengths:
            frames = int(np.median(lengths))
            return frame_count(frames, preset) if source == WAVEFORM else frames
    return 1


def feature_sources(cache: Cache, front_end: FrontEnd) -> list[str]:
    """Name the signals that features can come from: the features themselves, then the waveform.

    Features that another version's preset of this name made are not these features.

    Raises
    ------
    CacheError
        As :class:`UnitLoader`, where there is none.
    """
    found = []
    if front_end.name in cache.signals and cache.front_end_facts(front_end.name) in (
        None,  # a cache from before they were recorded
        front_end_facts([front_end.name])[front_end.name],
    ):
        found.append(front_end.name)
    if WAVEFORM in cache.signals and cache.sample_rate_hz == front_end.sample_rate_hz:
        found.append(WAVEFORM)
    if found:
        return found
    if WAVEFORM not in cache.signals:
        raise CacheError(
            f"the student takes {front_end.name}; the cache has neither that nor a waveform, only: "
            f"{', '.join(cache.signals)}. Make a cache with: precompute-teacher ... --signal waveform",
            kind="missing_signal",
        )
    raise CacheError(
        f"front end {front_end.name} takes {front_end.sample_rate_hz} Hz, the cached waveform has "
        f"{cache.sample_rate_hz} Hz. Make a cache with a {front_end.sample_rate_hz}-Hz teacher first; "
        "this one's outputs can be added to it by --teacher-name WORD.",
        kind="sample_rate",
    )

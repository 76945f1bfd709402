"""Read a cache's sealed parts: open them quickly, then whole work units, each object checked.

Opening reads the manifest, the plans and the table of units. Lengths, ids and labels are read when
requested.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip_table import ClipTable
from cache_schema.documents import parse
from cache_schema.encodings import top_k, u8log
from cache_schema.errors import MAX_LISTED, CacheError, bullet_list
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.metadata import Manifest, PartEntry, PartIndex, PartPlan, SignalSpec
from cache_schema.plugins import unknown_name
from cache_schema.signal_names import (
    VIEW_DRAWS,
    VIEW_LABELS,
    WAVEFORM,
    command_of,
    signal_of,
    teacher_label,
    teacher_of,
)
from cache_schema.store.address import Address, CachePath, cache_path
from cache_schema.store.arrays import Array, ChunkReader, EagerArray
from cache_schema.store.files import sha256
from cache_schema.store.local_copy import local_copy
from cache_schema.store.objects import get_recorded, objects_of
from cache_schema.view_recipe import draw_names
from cache_schema.writer import (
    INDEX,
    MANIFEST,
    check_plans,
    load_manifest,
    load_plan,
    missing_units,
    part_folder,
)


@dataclass(frozen=True, slots=True)
class Unit:
    """A work unit: consecutive clips of one split in one view."""

    number: int
    view: int
    split: str
    first_clip: int
    rows: int


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of differing length laid end to end: row i is ``values[starts[i]:starts[i + 1]]``."""

    values: Array
    starts: NDArray[np.int64]
    square: bool = False

    def __getitem__(self, row: int) -> Array:
        """Row `row`, a view; a square map comes back as ``(frames, frames)``."""
        entries = self.values[self.starts[row] : self.starts[row + 1]]
        if not self.square:
            return entries
        side = int(np.sqrt(len(entries)) + 0.5)
        return entries.reshape(side, side)

    def __len__(self) -> int:
        """Count of rows."""
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Entries of each row."""
        return np.diff(self.starts)


@dataclass(frozen=True, slots=True)
class UnitRows:
    """The usable rows of a unit.

    Attributes
    ----------
    clip : int64, shape (n,)
        Position of each row's clip in the clip table.
    labels : uint8, shape (n, C)
        Multi-hot labels.
    none_present : bool, shape (n,)
        Whether the clip is labelled with none of the classes.
    signals : dict
        Array of shape (n, ...) for fixed signals, :class:`Ragged` otherwise.
    """

    clip: NDArray[np.int64]
    labels: NDArray[np.uint8]
    none_present: NDArray[np.bool_]
    signals: dict[str, Any]

    @property
    def targets(self) -> NDArray[np.float32]:
        """What is true of each row, (n, C): its clip's labels, or its view's own where these were read.

        A view that mixes two clips has shares of both.
        """
        return np.maximum(self._label_values, 0)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Whether the clip, or the view where these were read, has labels; shape (n,)."""
        values = self._label_values
        known: NDArray[np.bool_] = (values > 0).any(axis=1) | self.none_present & (values == 0).all(
            axis=1
        )
        return known

    @property
    def _label_values(self) -> NDArray[np.float32]:
        """Labels, -1 throughout for a view that nobody can label."""
        return np.asarray(self.signals.get(VIEW_LABELS, self.labels), np.float32)


def _damaged_index(entry: PartEntry, problem: str) -> CacheError:
    return CacheError(
        f"{entry.name}/{INDEX} is {problem}. List all damage: inspect-cache CACHE --verify",
        kind="damaged",
    )


class SealedPart:
    """One sealed part: its plan and the digests its index has of stored objects."""

    def __init__(self, root: CachePath, entry: PartEntry) -> None:
        self.plan: PartPlan = load_plan(root, entry)
        self.folder = part_folder(root, entry.name)
        self._index = self._load_index(entry)
        self._arrays: dict[str, EagerArray] = {}
        self._opening = threading.Lock()
        self.object_bytes = self._unit_array("object_bytes")
        self.object_crc32c = self._unit_array("object_crc32c")
        self.names = [signal.name for signal in self.plan.signals]
        self._ragged = [s.name for s in self.plan.signals if s.layout != "fixed"]
        self._copy = None if isinstance(root, Path) else local_copy()
        self._readers: dict[str, ChunkReader] = {}

    def _load_index(self, entry: PartEntry) -> PartIndex:
        try:
            data = get_recorded(objects_of(self.folder), INDEX, entry.index_sha256)
        except FileNotFoundError:
            raise _damaged_index(entry, "missing, but the manifest names it") from None
        if sha256(data) != entry.index_sha256:
            recorded = entry.index_sha256 and entry.index_sha256[:12]
            problem = (
                f"damaged: the manifest records {recorded}, its content is {sha256(data)[:12]}"
            )
            raise _damaged_index(entry, problem)
        return parse(PartIndex, data, f"{entry.name}/{INDEX}")

    def _array(self, name: str) -> EagerArray:
        """Open an index array, its objects compared with their digests: a stale copy is found here."""
        with self._opening:
            if name not in self._arrays:
                self._arrays[name] = EagerArray(self.folder, f"index/{name}", self._index.objects)
            return self._arrays[name]

    def _unit_array(self, name: str) -> Array:
        return self._array(name)[0 : len(self.plan.units.rows)]

    def _row_array(self, name: str, unit: int) -> Array:
        first = unit * self.plan.unit_rows
        return self._array(name)[first : first + self.plan.units.rows[unit]]

    def usable(self, unit: int) -> NDArray[np.bool_]:
        """Which rows of a unit are not quarantined."""
        return self._row_array("row_usable", unit).astype(bool)

    def lengths(self, name: str, unit: int) -> NDArray[np.int64]:
        """Entries of each row of a ragged signal in a unit."""
        column, spec = self._ragged.index(name), self.plan.signal(name)
        lengths = self._row_array("row_lengths", unit)[:, column].astype(np.int64)
        whole = spec.layout != "square" or (np.round(np.sqrt(lengths)) ** 2 == lengths).all()
        if lengths.sum() > spec.chunk_length or not whole:
            raise CacheError(
                f"{self.plan.name}/index/row_lengths does not fit {name} of work unit {unit}: "
                f"{lengths.sum()} entries, its chunk holds {spec.chunk_length}",
                kind="damaged",
            )
        return lengths

    def record_digests(self) -> list[str]:
        """SHA-256 of each unit's commit record, as sealed."""
        return [row.tobytes().hex() for row in self._unit_array("record_sha256")]

    def _chunk_digest(self, unit: int, column: int) -> str:
        """SHA-256 of a chunk, as sealed."""
        digest: bytes = self._array("object_sha256")[unit : unit + 1][0, column].tobytes()
        return digest.hex()

    def read(self, name: str, unit: int, keep: NDArray[np.bool_]) -> Any:
        """Read one signal of a unit for the rows in `keep`, checking size, trailer and CRC-32C."""
        spec = self.plan.signal(name)
        column = self.names.index(name)
        size = int(self.object_bytes[unit, column])
        trailer = self.object_crc32c[unit, column].tobytes()
        if name not in self._readers:
            chunk = (self.folder / name, spec.chunk_shape, spec.dtype, self.plan.codec)
            self._readers[name] = ChunkReader(*chunk, self._copy)
        digest = self._chunk_digest(unit, column) if self._copy else ""
        stored = (size, trailer, digest)
        if spec.layout == "fixed":
            values = self._readers[name].read(unit, len(keep), *stored)[keep]
            if spec.dtype == "uint16":
                values = top_k.decode(values, len((self.plan.teacher or {})["classes"]))
            return values
        lengths = self.lengths(name, unit)
        values = self._readers[name].read(unit, int(lengths.sum()), *stored)
        if not keep.all():
            values = values[np.repeat(keep, lengths)]
        starts = np.concatenate([[0], np.cumsum(lengths[keep])])
        if spec.dtype == "uint8":
            values = u8log.decode(values, starts)
        return Ragged(values, starts, square=spec.layout == "square")


class Cache:
    """A cache, opened for reading: its parts without those `unfinished`. See :func:`open_cache`."""

    def __init__(self, root: CachePath, manifest: Manifest) -> None:
        self.root = root
        sealed = [entry for entry in manifest.parts if entry.index_sha256 is not None]
        self.unfinished = tuple(entry for entry in manifest.parts if entry not in sealed)
        self.manifest = manifest.model_copy(update={"parts": sealed})
        place = root if isinstance(root, Address) else root.absolute()  # wherever one works later
        self.classes: tuple[str, ...] = tuple(manifest.corpus.classes)
        self.task, self.sample_rate_hz = manifest.corpus.task, manifest.sample_rate_hz
        self.splits: tuple[str, ...] = tuple(split.name for split in manifest.corpus.splits)
        self.parts = [SealedPart(place, entry) for entry in sealed]
        check_plans(root, manifest, [part.plan for part in self.parts])
        _check_parts_align(root, [part.plan for part in self.parts])
        self.clip_table = ClipTable(place, manifest)
        self._place = place

    def __reduce__(self) -> tuple[Any, ...]:
        """Let another process open it by its place, as a pool of workers does."""
        return open_cache, (self._place,)

    @property
    def reads_at_once(self) -> int:
        """Units that are worth reading at the same time: more than one from afar."""
        return objects_of(self.root).at_once

    @property
    def views(self) -> int:
        """How many views each training clip has."""
        return max(part.plan.view_range.stop for part in self.parts)

    @cached_property
    def signals(self) -> Mapping[str, SignalSpec]:
        """The signals that every view has, a further teacher's as ``logits@b``."""
        ranges: dict[int, dict[str, SignalSpec]] = {}
        for part in self.parts:
            found = ranges.setdefault(part.plan.first_view, {})
            found |= {signal.name: signal for signal in part.plan.signals}
        first = ranges[0]
        return {name: s for name, s in first.items() if all(name in r for r in ranges.values())}

    @property
    def target_signals(self) -> tuple[str, ...]:
        """What to read for :attr:`UnitRows.targets`: nothing, unless views have labels of their own."""
        return tuple(name for name in (VIEW_LABELS,) if name in self.signals)

    @cached_property
    def view_draw_names(self) -> tuple[str, ...]:
        """Names of the columns of `view_draws`; empty for a cache that keeps no draws.

        Raises
        ------
        CacheError
            Kind ``"damaged"`` if the recipe draws other numbers than are stored.
        """
        if VIEW_DRAWS not in self.signals:
            return ()
        part = self._part_with(VIEW_DRAWS, view=0)
        names = draw_names(part.plan.view_recipe)
        _check_draws(self.root, part.plan, names)
        return names

    @property
    def teacher(self) -> dict[str, Any] | None:
        """Provenance of the first teacher, or None for a cache without one."""
        return self.teachers.get("")

    @cached_property
    def teachers(self) -> Mapping[str, dict[str, Any]]:
        """Provenance of each teacher by its name; the first teacher's name is empty."""
        found: dict[str, dict[str, Any]] = {}
        for part in self.parts:
            if part.plan.teacher is not None:
                found.setdefault(part.plan.teacher_name, part.plan.teacher)
        return found

    def front_end_facts(self, name: str) -> Any:
        """Parameters of the front end that made a cached feature; None where none are recorded."""
        part = next(part for part in self.parts if name in part.names)
        facts = part.plan.audio.get("front_ends")
        return facts.get(name) if isinstance(facts, dict) else None

    def units(self, split: str, view: int | None = None) -> list[Unit]:
        """Work units of a split, in one view or in all.

        Raises
        ------
        UsageError
            If the cache has no such split.
        """
        if split not in self.splits:
            raise unknown_name(split, self.splits, "split of the cache")
        seen: dict[tuple[int, int], Unit] = {}
        for part in self.parts:
            table = part.plan.units
            columns = zip(table.view, table.split, table.first_clip, table.rows, strict=True)
            for number, (unit_view, unit_split, first, rows) in enumerate(columns):
                if unit_split == split and view in (None, unit_view):
                    key = (part.plan.first_view, number)
                    seen[key] = Unit(number, unit_view, unit_split, first, rows)
        return [seen[key] for key in sorted(seen)]

    def read_unit(self, unit: Unit, names: Sequence[str]) -> UnitRows:
        """Read the usable rows of a unit with the named signals, aligned.

        A row is usable when no part that holds a named signal has quarantined it.

        Raises
        ------
        CacheError
            ``"missing_signal"`` for a signal the cache lacks, ``"damaged"`` for a stored object
            that is not the recorded one, ``"replaced"`` where the whole cache is gone or another.
        """
        homes = {name: self._part_with(name, unit.view) for name in names}
        parts = list(homes.values()) or [self._parts_of(unit.view)[0]]
        last = unit.first_clip + unit.rows
        with _in_its_place(self._place, self.manifest):
            usable = [part.usable(unit.number) for part in parts]
            keep: NDArray[np.bool_] = np.asarray(np.stack(usable).all(axis=0))
            signals = {name: part.read(name, unit.number, keep) for name, part in homes.items()}
            labels = self.clip_table.labels(unit.first_clip, last)[keep]
            none_present = self.clip_table.none_present(unit.first_clip, last)[keep]
        clip = np.arange(unit.first_clip, last, dtype=np.int64)[keep]
        return UnitRows(clip, labels, none_present, signals)

    def lengths(self, unit: Unit, name: str) -> NDArray[np.int64]:
        """Entries of a ragged signal in each usable row of a unit; raises as `read_unit`."""
        part = self._part_with(name, unit.view)
        lengths: NDArray[np.int64] = part.lengths(name, unit.number)[part.usable(unit.number)]
        return lengths

    def clip_ids(self, first: int = 0, last: int | None = None) -> list[str]:
        """Ids of clips ``first:last``, in the order of the clip table."""
        clips = self.manifest.corpus.clips
        return self.clip_table.strings("id", first, clips if last is None else last)

    def _parts_of(self, view: int) -> list[SealedPart]:
        return [part for part in self.parts if view in part.plan.view_range]

    def _part_with(self, name: str, view: int) -> SealedPart:
        for part in self._parts_of(view):
            if name in part.names:
                return part
        raise CacheError(
            f"{self.root} has no signal {name!r} in view {view}; every view has: "
            f"{', '.join(self.signals)}. Add it: repeat {suggested_command(name)}",
            kind="missing_signal",
        )


def _check_draws(root: CachePath, plan: PartPlan, names: Sequence[str]) -> None:
    """Reject draws in rows of another length than the view recipe has."""
    columns = plan.signal(VIEW_DRAWS).row_shape
    if columns != [len(names)]:
        raise CacheError(
            f"{plan.name} of {root} stores {VIEW_DRAWS} in rows of {columns}, its recipe "
            f"has {len(names)}: {', '.join(names)}",
            kind="damaged",
        )


@contextmanager
def _in_its_place(root: CachePath, opened: Manifest) -> Iterator[None]:
    """Tell an object that is damaged from a cache that was moved, deleted or made anew meanwhile."""
    try:
        yield
    except CacheError as error:
        if error.kind != "damaged":
            raise
        if not objects_of(root).exists(MANIFEST):
            state = "is not there any more: it was moved or deleted, or its disk is not mounted"
        elif load_manifest(root).corpus != opened.corpus:
            state = "is another cache now"
        else:
            raise
        raise CacheError(
            f"{root} {state}. Name the place where it is now", kind="replaced"
        ) from None


def _check_parts_align(root: CachePath, plans: Sequence[PartPlan]) -> None:
    """Reject views that are missing, or cut into work units in two ways, as nobody writes by command."""
    problems, firsts, views = [], dict[int, PartPlan](), 0
    for plan in sorted(plans, key=lambda plan: plan.first_view):
        first = firsts.setdefault(plan.first_view, plan)
        if plan is first and plan.first_view != views:
            problems.append(
                f"{plan.name} begins with view {plan.first_view}, expected view {views}"
            )
        elif (plan.views, plan.units) != (first.views, first.units):
            problems.append(f"{plan.name} cuts its views into other work units than {first.name}")
        views = plan.view_range.stop
    if problems:
        raise CacheError(
            f"{root}: its parts do not lie side by side; {len(problems)} problem(s)\n"
            f"{bullet_list(problems, MAX_LISTED)}",
            kind="damaged",
        )


def suggested_command(name: str) -> str:
    """How a message calls the command that adds a signal, given by its name in the cache.

    >>> suggested_command("mfcc")
    'the precompute-teacher command with --signal mfcc'
    >>> suggested_command("temporal_attention")
    'the precompute-teacher command with --signal temporal_attention, if its teacher gives that'
    """
    teacher, signal = teacher_of(name), signal_of(name)
    command = f"{command_of(teacher)} and" if teacher else "the precompute-teacher command with"
    of_rows = signal == WAVEFORM or signal in FRONT_ENDS
    return f"{command} --signal {signal}{'' if of_rows else ', if its teacher gives that'}"


def open_cache(root: str | CachePath) -> Cache:
    """Open a cache, in a local folder or at an address such as ``s3://bucket/sounds.zarr``.

    What is being added to it, or was left unfinished, is not read: its first part has to be whole.

    Raises
    ------
    UsageError
        Kind ``"address"`` for an address that no cache is read at, ``"extra"`` without the extra.
    CacheError
        ``"missing"``, ``"damaged"``, ``"too_new"``, or ``"unfinished"`` with the units done.
    """
    root = cache_path(root)
    manifest = load_manifest(root)
    if not manifest.sealed(manifest.parts[0].name):
        raise CacheError(
            f"{root} is unfinished: {progress(root, manifest.parts[0])}. Repeat the same "
            "precompute-teacher command to continue.",
            kind="unfinished",
        )
    return Cache(root, manifest)


def progress(root: CachePath, entry: PartEntry) -> str:
    """How far an unfinished part is: "part-001 of teacher 'b' has 3 of 7 work units"."""
    plan = load_plan(root, entry)
    total, missing = len(plan.units.rows), len(missing_units(root, plan))
    return (
        f"{entry.name} of {teacher_label(plan.teacher_name)} has {total - missing} of {total} work "
        "units"
    )

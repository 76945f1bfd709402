"""``--check``: whether the sources and the teacher still say what the cache says."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from cache_schema import u8log
from cache_schema.arrays import Array
from cache_schema.documents import CommitRecord, parse
from cache_schema.errors import CacheError, listed
from cache_schema.reader import Cache, SealedPart, open_cache
from cache_schema.writer import Row, record_path
from pipeline.precompute import Precompute
from pipeline.unit import UnitWorker

# Share of a signal's scale by which a recomputed row may differ: float16 keeps 11 bits, and the
# batch a row lands in may differ from the first time.
TOLERANCE = 2e-3


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found: rows looked at and, per signal, the largest deviation over its scale."""

    rows: int
    deviations: dict[str, float]


def check(precompute: Precompute, rows: int | None) -> CheckReport:
    """Hear and ask the teacher again for `rows` random rows (None: all) of its parts.

    Raises
    ------
    CacheError
        Kind ``"stale"``, listing every source that changed and every signal out of tolerance.
    """
    request = precompute.request
    cache = open_cache(request.out)
    precompute.refuse_stale(cache.manifest, [part.plan for part in cache.parts])
    problems: list[str] = []
    deviations: dict[str, float] = {}
    looked_at = 0
    for part, group in groupby(
        _chosen(cache, precompute.teacher_name, rows), key=lambda chosen: chosen.part
    ):
        worker = UnitWorker(precompute.job(part.plan))
        for chosen in group:
            looked_at += len(chosen.rows)
            problems += _compare_unit(
                cache, chosen, worker.rows(chosen.unit, chosen.rows), deviations
            )
    problems += [
        f"{name}: deviates by {share:.2e} of its scale, allowed {TOLERANCE:.0e}"
        for name, share in deviations.items()
        if share > TOLERANCE
    ]
    if problems:
        raise CacheError(
            f"{request.out}: {looked_at} rows checked, {len(problems)} problem(s)\n"
            f"{listed(problems[:20])}\nRestore the sources, or make a new cache with another --out.",
            kind="stale",
        )
    return CheckReport(looked_at, deviations)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Rows of one work unit that are to be looked at."""

    part: SealedPart
    unit: int
    rows: list[int]


def _chosen(cache: Cache, teacher: str, rows: int | None) -> Iterator[_Chosen]:
    """Choose random rows of one teacher's parts."""
    everything = [
        (number, unit, row)
        for number, part in enumerate(cache.parts)
        if part.plan.teacher_name == teacher
        for unit, count in enumerate(part.plan.units.rows)
        for row in range(count)
    ]
    if rows is not None:
        everything = sorted(random.SystemRandom().sample(everything, min(rows, len(everything))))
    for (number, unit), group in groupby(everything, key=lambda entry: entry[:2]):
        yield _Chosen(cache.parts[number], unit, [row for _, _, row in group])


def _compare_unit(
    cache: Cache, chosen: _Chosen, fresh: Sequence[Row], deviations: dict[str, float]
) -> Iterator[str]:
    """Yield what no longer agrees in one unit; notes the deviation of each signal."""
    part, unit = chosen.part, chosen.unit
    data = record_path(cache.root, part.plan.name, unit).read_bytes()
    record = parse(CommitRecord, data, f"record of work unit {unit} of {part.plan.name}")
    reasons = {entry.row: entry.reason for entry in record.quarantine}
    usable = part.usable(unit)
    place = np.cumsum(usable) - 1
    stored = {name: part.read(name, unit, usable) for name in part.names}
    for row in chosen.rows:
        where, now, was = (
            f"{part.plan.name} work unit {unit} row {row}",
            fresh[row],
            reasons.get(row),
        )
        if now.source_sha256 != record.sources[row]:
            digests = (
                now.source_sha256[:12] or "unreadable",
                record.sources[row][:12] or "unreadable",
            )
            yield f"{where}: source digest {digests[0]}, cached {digests[1]}"
        elif now.reason != was:
            yield f"{where}: now {now.reason or 'usable'!r}, cached {was or 'usable'!r}"
        elif was is None:
            for name, values in stored.items():
                again = now.signals[name]
                if part.plan.signal(name).dtype == "uint8":
                    again = u8log.decode(u8log.encode(again), np.array([0, len(again)]))
                share = _deviation(values[int(place[row])], again)
                deviations[name] = max(deviations.get(name, 0.0), share)


def _deviation(cached: Array, fresh: Array) -> float:
    """Largest difference as a share of the cached row's scale."""
    if cached.shape != fresh.shape:
        return float("inf")
    wide, again = cached.astype(np.float64), fresh.astype(np.float64)
    scale = float(np.abs(wide).max(initial=0)) or 1.0
    return float(np.abs(wide - again).max(initial=0)) / scale

"""``--check``: whether the sources and the teacher still give what the cache holds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from cache_schema.documents import parse
from cache_schema.encodings import top_k, u8log
from cache_schema.errors import MAX_LISTED, CacheError, bullet_list
from cache_schema.metadata import CommitRecord, SignalSpec
from cache_schema.reader import SealedPart, open_cache
from cache_schema.signal_names import teacher_label
from cache_schema.store.arrays import Array
from cache_schema.store.files import sha256
from cache_schema.store.objects import get_recorded, objects_of
from cache_schema.store.part_digests import record_key
from cache_schema.text import one_line
from cache_schema.writer import UnitRow
from pipeline.precompute.precompute import Precompute
from pipeline.precompute.staleness import check_same_recipe
from pipeline.precompute.work_unit import UnitWorker

# Share of a signal's scale by which a recomputed row may differ: float16 keeps 11 bits, and the
# batch a row lands in may differ from the first time.
TOLERANCE = 2e-3


@dataclass(slots=True)
class CheckReport:
    """What a check found.

    Attributes
    ----------
    rows : int
        Views of clips looked at, each in every part of the teacher that holds it.
    deviations : dict
        Of each signal the largest deviation over the scale of its row; of one in u8log, what it is
        beyond the step between two codes.
    problems : list of str
        Every source and every row that is no longer what the cache holds.
    """

    rows: int = 0
    deviations: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def check(precompute: Precompute, rows: int | None) -> CheckReport:
    """Decode and run the teacher again for `rows` random rows (None: all) of its parts.

    Raises
    ------
    CacheError
        Kind ``"stale"``, naming what changed and every signal out of tolerance; ``"damaged"``.
    """
    out = precompute.out
    cache = open_cache(out)
    check_same_recipe(precompute.inputs, cache.manifest, [part.plan for part in cache.parts])
    parts = [
        part for part in cache.parts if part.plan.teacher_name == precompute.inputs.teacher_name
    ]
    if not parts:
        name = precompute.inputs.teacher_name
        there = ", ".join(map(teacher_label, cache.teachers)) or "none"
        raise CacheError(
            f"{out} has nothing of {teacher_label(name)}; teachers there: {there}. Check the one that "
            "is meant by its --teacher-name, the first without",
            kind="missing",
        )
    drawn = sample_rows({part.plan.first_view: part.plan.units.rows for part in parts}, rows)
    report = CheckReport(rows=sum(len(chosen) for _, _, chosen in drawn))
    for part in parts:
        checker = _PartChecker(precompute, part, report)
        for first_view, unit, chosen in drawn:
            if first_view == part.plan.first_view:
                checker.compare(unit, chosen)
    _check_no_problems(precompute, report)
    return report


def _check_no_problems(precompute: Precompute, report: CheckReport) -> None:
    problems = [
        *report.problems,
        *(
            f"{name}: deviates by {share:.2e} of its scale, allowed {TOLERANCE:.0e}"
            for name, share in report.deviations.items()
            if share > TOLERANCE
        ),
    ]
    if problems:
        raise CacheError(
            f"{precompute.out}: {report.rows} rows checked, {len(problems)} problem(s)\n"
            f"{bullet_list(problems, MAX_LISTED)}\n"
            "Restore the sources, or make a new cache with another --out.",
            kind="stale",
        )


def sample_rows(
    tables: dict[int, list[int]], rows: int | None
) -> list[tuple[int, int, Sequence[int]]]:
    """Draw rows without repetition, each as likely as any other.

    Parameters
    ----------
    tables : dict
        The rows of each work unit, by the first view of the parts that have these units.
    rows : int or None
        How many; None for all.

    Returns
    -------
    list of (first view, work unit, rows within it)
    """
    units = [(view, unit) for view, counts in tables.items() for unit in range(len(counts))]
    counts = np.concatenate([np.array(counts, np.int64) for counts in tables.values()])
    if rows is None:
        return [(*unit, range(n)) for unit, n in zip(units, counts.tolist(), strict=True)]
    ends = np.cumsum(counts)
    total = int(ends[-1])
    # A generator without a seed takes one from the operating system.
    generator = np.random.default_rng()
    chosen = np.sort(generator.choice(total, min(rows, total), replace=False, shuffle=False))
    owners, firsts = np.unique(np.searchsorted(ends, chosen, side="right"), return_index=True)
    groups = np.split(chosen, firsts[1:])
    return [
        (*units[owner], (group - (ends - counts)[owner]).tolist())
        for owner, group in zip(owners.tolist(), groups, strict=True)
    ]


class _PartChecker:
    """Compares the rows of one part with what its teacher gives for them now."""

    def __init__(self, precompute: Precompute, part: SealedPart, report: CheckReport) -> None:
        self._clips = precompute.inputs.clips
        self._part = part
        self._report = report
        self._record_digests = part.record_digests()
        self._worker = UnitWorker(precompute.job(part.plan))

    def compare(self, unit: int, chosen: Sequence[int]) -> None:
        """Look at some rows of a work unit."""
        record = self._record(unit)
        reasons = {entry.row: entry.reason for entry in record.quarantine}
        fresh = self._worker.rows(unit, chosen)
        usable = self._part.usable(unit)
        place = np.cumsum(usable) - 1
        stored = {name: self._part.read(name, unit, usable) for name in self._part.names}
        for row in chosen:
            problem = _problem(fresh[row], record.sources[row], reasons.get(row))
            if problem:
                self._report.problems.append(f"{self._where(unit, row)}: {problem}")
            elif usable[row]:
                for name, values in stored.items():
                    self._record_deviation(name, values[int(place[row])], fresh[row].signals[name])

    def _record(self, unit: int) -> CommitRecord:
        """Read the unit's record, which must be the one that was sealed."""
        where = f"record of work unit {unit} of {self._part.plan.name}"
        objects, key = objects_of(self._part.folder), record_key(unit)
        data = b""
        with suppress(FileNotFoundError):
            data = get_recorded(objects, key, self._record_digests[unit])
        if sha256(data) != self._record_digests[unit]:
            raise CacheError(
                f"the {where} is {'not the sealed one' if data else 'missing'}. Repeat the command "
                "with --repair in place of --check",
                kind="damaged",
            )
        return parse(CommitRecord, data, where)

    def _where(self, unit: int, row: int) -> str:
        units = self._part.plan.units
        clip = self._clips[units.first_clip[unit] + row]
        place = f"view {units.view[unit]}, {self._part.plan.name} work unit {unit} row {row}"
        return f"{one_line(clip.id)} ({place})"

    def _record_deviation(self, name: str, cached: Array, fresh: Array) -> None:
        share = relative_error(self._part.plan.signal(name), self._task, cached, fresh)
        self._report.deviations[name] = max(self._report.deviations.get(name, 0.0), share)

    @property
    def _task(self) -> top_k.Task:
        return self._worker.teacher.task


def _problem(now: UnitRow, source: str, reason: str | None) -> str:
    """What no longer agrees of a row besides its signals; empty if nothing."""
    if now.source_sha256 != source:
        digests = (now.source_sha256[:12] or "unreadable", source[:12] or "unreadable")
        return f"source digest {digests[0]}, cached {digests[1]}"
    if (now.reason is None) != (reason is None):  # reasons may be worded otherwise by now
        return f"now {now.reason or 'usable'!r}, cached {reason or 'usable'!r}"
    return ""


def relative_error(spec: SignalSpec, task: top_k.Task, cached: Array, fresh: Array) -> float:
    """Largest difference of a row from the cached one, as a share of the cached one's scale.

    The fresh row is first brought into the form that was stored. A value on the edge between two
    codes of u8log may fall on either side of it, which is no difference.
    """
    slack = 0.0
    if spec.dtype == "uint8":
        fresh, slack = u8log.decode(u8log.encode(fresh), np.array([0, len(fresh)])), u8log.RATIO - 1
    elif spec.dtype == "uint16":
        kept = top_k.k_of_width(*spec.row_shape)
        (fresh,) = top_k.requantize_like(cached[None], fresh[None], kept, task)
    was, now = cached.astype(np.float64), fresh.astype(np.float64)
    if was.shape != now.shape or not (np.isfinite(was).all() and np.isfinite(now).all()):
        return float("inf")
    apart = np.abs(was - now) - slack * np.maximum(np.abs(was), np.abs(now))
    scale = float(np.abs(was).max(initial=0)) or 1.0
    return float(apart.max(initial=0)) / scale

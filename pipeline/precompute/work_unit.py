"""One work unit, whole: prepare its clips, run the teacher, write and commit. What a worker runs.

A process has two units in hand, each in a thread of its own: one runs the teacher, whose turn a lock
guards, while the other decodes or writes. Never more, so that memory stays bounded.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from cache_schema.clip_table import ClipTable
from cache_schema.errors import RunError, bullet_list
from cache_schema.metadata import CommitRecord, Manifest, PartPlan
from cache_schema.reader import SealedPart
from cache_schema.signal_names import LOGITS, WAVEFORM, qualified
from cache_schema.store.address import CachePath, cache_path
from cache_schema.store.files import sha256
from cache_schema.writer import UnitRow, load_manifest, load_plan, write_unit
from pipeline.precompute.provenance_diff import differences, without_name
from pipeline.precompute.unit_inputs import CachedRows, CorpusRows, PreparedClip
from pipeline.precompute.unit_outputs import TeacherRows, check_same_logits
from pipeline.teachers import open_teacher
from pipeline.teachers.interface import Teacher
from pipeline.views import ViewRecipe, view_context

MAX_CONCURRENT_UNITS = 2


@dataclass(frozen=True, slots=True)
class UnitJob:
    """What a worker must know to compute units of one part; small, picklable, the same for all.

    `run` distinguishes runs of the same command, of which one may have been stopped.
    """

    cache: str
    part: str
    plan_sha256: str
    corpus_root: str
    teacher: str
    teacher_options: tuple[tuple[str, str], ...]
    view_steps: tuple[str, ...]
    device: str
    run: str = ""


class UnitCancelled(Exception):  # noqa: N818 - what was requested, not a failure
    """The unit was given up unwritten, because its run was stopped."""


_unit_slots = threading.BoundedSemaphore(MAX_CONCURRENT_UNITS)
_loading = threading.Lock()
_active_runs: list[str] = []  # the run of each unit
_stopped_runs: set[str] = set()


def compute_unit(job: UnitJob, number: int) -> CommitRecord:
    """Compute and commit one work unit; repeating it writes the same bytes.

    Raises
    ------
    UnitCancelled
        If the run was stopped before the unit's outputs were complete.
    RunError
        Kind ``"teacher"`` for outputs that cannot be kept, or a teacher that would end the process.
    """
    _active_runs.append(job.run)
    try:
        with _unit_slots:
            return _worker(job).compute(number)
    except SystemExit as error:  # a worker would end, and its units be taken for too large
        raise RunError(
            f"teacher {job.teacher} would have ended the process (SystemExit: {error}). Correct it, and "
            "repeat the command.",
            kind="teacher",
        ) from error
    finally:
        _active_runs.remove(job.run)


def stop_run(run: str) -> None:
    """Let the units of a run that are in hand in this process end: dropped, or written whole."""
    _stopped_runs.add(run)


async def stop_run_and_wait(run: str) -> None:
    """Stop a run in this process and wait until it has none of its units in hand."""
    stop_run(run)
    while run in _active_runs:
        await asyncio.sleep(0.02)


def _worker(job: UnitJob) -> UnitWorker:
    with _loading:
        worker = _loaded_worker(job)
    # One thread per unit in hand: the same bytes whatever the number of processes, and faster where
    # several share the cores. The setting belongs to a thread; a teacher without torch imports none.
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    return worker


@lru_cache(maxsize=1)
def _loaded_worker(job: UnitJob) -> UnitWorker:
    """Load the teacher once per process."""
    return UnitWorker(job)


class UnitWorker:
    """Computes the units of one part with a loaded teacher; threads may share one."""

    def __init__(self, job: UnitJob) -> None:
        self._run = job.run
        self.root = cache_path(job.cache)
        manifest = load_manifest(self.root)
        self.plan: PartPlan = planned_part(manifest, job)
        self.teacher: Teacher = open_teacher(
            job.teacher,
            dict(job.teacher_options),
            classes=manifest.corpus.classes,
            task=manifest.corpus.task,
        )
        _check_same_teacher(self.plan, self.teacher)
        self.teacher.load(job.device)
        self._logits = qualified(LOGITS, self.plan.teacher_name)
        self._cached_logits: SealedPart | None = None
        waveform_hz = manifest.sample_rate_hz
        if self.plan.source == "cache":
            base = _waveform_part(self.root, self.plan)
            self._inputs: CorpusRows | CachedRows = CachedRows(base, self.teacher, waveform_hz)
            self._cached_logits = _part_with(self.root, self.plan, self._logits)
        else:
            clips, corpus = ClipTable(self.root, manifest), cache_path(job.corpus_root)
            context = view_context(
                corpus, waveform_hz, manifest.corpus, lambda n: clips.clips(n, n + 1)[0]
            )
            recipe = ViewRecipe(job.view_steps, context, seed=self.plan.seed)
            self._inputs = CorpusRows(corpus, clips, self.teacher, waveform_hz, recipe)
        self._outputs = TeacherRows(
            self.plan, self.teacher, waveform_hz, with_logits=self._cached_logits is not None
        )

    def compute(self, number: int) -> CommitRecord:
        """Compute and commit one work unit."""
        rows = self.rows(number)
        if self._cached_logits is not None:
            task = self.teacher.task
            check_same_logits(self._cached_logits, self._logits, task, number, rows)
        return write_unit(self.root, self.plan, number, rows)

    def rows(self, number: int, only: Collection[int] | None = None) -> list[UnitRow]:
        """Compute the rows of a unit without writing them; `only` some leaves the rest empty."""
        prepare = self._inputs.of_unit(self.plan, number)
        prepared: list[PreparedClip | UnitRow] = []
        for row in range(self.plan.units.rows[number]):
            self._check_not_stopped()
            wanted = only is None or row in only
            prepared.append(prepare(row) if wanted else UnitRow(reason="skipped"))
        rows = self._outputs.rows(prepared, self._check_not_stopped)
        self._outputs.check_useful(number, prepared, rows)
        return rows

    def _check_not_stopped(self) -> None:
        if self._run in _stopped_runs:
            raise UnitCancelled


def planned_part(manifest: Manifest, job: UnitJob) -> PartPlan:
    """The plan of a job's part, if it is still the one that the job was made for."""
    entries = {entry.name: entry for entry in manifest.parts}
    entry = entries.get(job.part)  # an older copy of the cache lacks it
    plan = load_plan(cache_path(job.cache), entry) if entry else None
    if plan is None or sha256(plan.encode()) != job.plan_sha256:
        raise RunError(
            f"{job.part} of {job.cache} is not the part that was requested; was the cache replaced "
            "meanwhile? Repeat the command.",
            kind="stale",
        )
    return plan


def _check_same_teacher(plan: PartPlan, teacher: Teacher) -> None:
    """A worker elsewhere may find other weights or libraries under the same name."""
    planned, found = plan.teacher or {}, teacher.provenance
    problems = differences(without_name(planned), without_name(found))
    if problems:
        raise RunError(
            f"this worker's teacher is not the planned one\n{bullet_list(problems)}\nGive every worker "
            "the same weights and libraries.",
            kind="stale",
        )


def _waveform_part(root: CachePath, plan: PartPlan) -> SealedPart:
    part = _part_with(root, plan, WAVEFORM)
    if part is None:
        raise RunError(
            f"{root} has no cached waveform for view {plan.first_view}", kind="missing_signal"
        )
    return part


def _part_with(root: CachePath, plan: PartPlan, signal: str) -> SealedPart | None:
    """Another sealed part that holds `signal` for the views of a plan."""
    for entry in load_manifest(root).parts:
        if entry.name != plan.name and entry.index_sha256 is not None:
            candidate = load_plan(root, entry)
            has_signal = any(spec.name == signal for spec in candidate.signals)
            if has_signal and candidate.first_view == plan.first_view:
                return SealedPart(root, entry)
    return None

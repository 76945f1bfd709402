"""One work unit, whole: prepare its clips, run the teacher, write and commit. What a worker runs.

A process has two units in hand, each in a thread of its own: one runs the teacher, which a lock
guards, while the other decodes or writes. Never more, so that memory stays bounded.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache_schema.clip import Clip
from cache_schema.clip_table import ClipTable
from cache_schema.encodings import top_k
from cache_schema.errors import RunError, bullet_list
from cache_schema.front_ends import FRONT_ENDS, front_end_features
from cache_schema.metadata import (
    VIEW_DRAWS,
    VIEW_LABELS,
    WAVEFORM,
    CommitRecord,
    PartPlan,
)
from cache_schema.reader import SealedPart
from cache_schema.signal_names import qualified, signal_of
from cache_schema.store.arrays import Array
from cache_schema.store.files import sha256
from cache_schema.writer import UnitRow, load_manifest, load_plan, write_unit
from pipeline.audio.decode import UnusableAudio, resample_exactly, resampled_length
from pipeline.corpora.clip_audio import decode_clip
from pipeline.precompute.plan import decoded_samples, taken_lengths, view_lengths
from pipeline.precompute.provenance_diff import differences, without_name
from pipeline.teachers import open_teacher
from pipeline.teachers.interface import Teacher
from pipeline.views import View, ViewRecipe, view_context

MAX_CONCURRENT_UNITS = 2
FULL_SCALE = 32768.0
ROUNDED_AT_ONCE = 1 << 20
# Of so many clips a teacher that can answer none is at fault, whatever it makes of noise.
MIN_CLIPS_ALIKE = 8
# Cached logits are float16; a recomputed answer may differ by this share of the largest logit.
LOGIT_TOLERANCE = 2e-3


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


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """The 16-bit samples of one row, as student and teachers get them, at the cache's rate.

    `of_view` has what a cache keeps of the view itself: what was drawn, and its labels.
    """

    samples_S: NDArray[np.int16]
    gain: float
    source_sha256: str
    of_view: Mapping[str, Array] = field(default_factory=dict)


def _to_int16(made: View, source_sha256: str) -> PreparedClip:
    """Limit a view to full scale and round it to the samples that student and teacher get."""
    peak = float(np.abs(made.waveform_S).max()) * FULL_SCALE
    gain = 1.0 if peak <= FULL_SCALE - 1 else (FULL_SCALE - 1) / peak
    samples_S = np.empty(len(made.waveform_S), np.int16)
    for first in range(0, len(samples_S), ROUNDED_AT_ONCE):  # or it would lie in memory as float64
        block = slice(first, first + ROUNDED_AT_ONCE)
        exact_S = made.waveform_S[block].astype(np.float64)
        samples_S[block] = np.round(exact_S * FULL_SCALE * gain)
    of_view: dict[str, Array] = {
        VIEW_DRAWS: made.drawn_P,
        VIEW_LABELS: made.labels_C.astype(np.float16),
    }
    return PreparedClip(samples_S, gain, source_sha256, of_view)


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
        If the run was stopped before the unit's answers were complete.
    """
    _active_runs.append(job.run)
    try:
        with _unit_slots:
            return _worker(job).compute(number)
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
    import torch

    # One thread per unit in hand: the same bytes whatever the number of processes, and faster where
    # several share the cores. The setting belongs to a thread.
    torch.set_num_threads(1)
    with _loading:
        return _loaded_worker(job)


@lru_cache(maxsize=1)
def _loaded_worker(job: UnitJob) -> UnitWorker:
    """Load the teacher once per process."""
    return UnitWorker(job)


class UnitWorker:
    """Computes the units of one part with a loaded teacher; threads may share one."""

    def __init__(self, job: UnitJob) -> None:
        self._run = job.run
        self._teacher_lock = threading.Lock()
        self.root = Path(job.cache)
        manifest = load_manifest(self.root)
        self.clip_table = ClipTable(self.root, manifest)
        self.waveform_hz = manifest.sample_rate_hz
        entries = {entry.name: entry for entry in manifest.parts}
        self.plan: PartPlan = load_plan(self.root, entries[job.part])
        if sha256(self.plan.encode()) != job.plan_sha256:
            raise RunError(
                f"{job.part} of {job.cache} is not the part that was requested; was the cache replaced "
                "meanwhile? Repeat the command.",
                kind="stale",
            )
        self.corpus_root = Path(job.corpus_root)
        self.teacher: Teacher = open_teacher(
            job.teacher,
            dict(job.teacher_options),
            classes=manifest.corpus.classes,
            task=manifest.corpus.task,
        )
        self._check_same_teacher()
        self.teacher.load(job.device)
        self.recipe = ViewRecipe(
            job.view_steps,
            view_context(self.corpus_root, self.waveform_hz, manifest.corpus, self._clip),
            seed=self.plan.seed,
        )
        self.logits = qualified("logits", self.plan.teacher_name)
        from_cache = self.plan.source == "cache"
        self.base = _waveform_part(self.root, self.plan) if from_cache else None
        self.compared = _part_with(self.root, self.plan, self.logits) if from_cache else None

    def _check_same_teacher(self) -> None:
        """A worker elsewhere may find other weights or libraries under the same name."""
        planned, found = self.plan.teacher or {}, self.teacher.provenance
        problems = differences(without_name(planned), without_name(found))
        if problems:
            raise RunError(
                f"this worker's teacher is not the planned one\n{bullet_list(problems)}\nGive "
                "every worker "
                "the same weights and libraries.",
                kind="stale",
            )

    def compute(self, number: int) -> CommitRecord:
        """Compute and commit one work unit."""
        rows = self.rows(number)
        if self.compared:
            self._check_same_logits(self.compared, number, rows)
        return write_unit(self.root, self.plan, number, rows)

    def rows(self, number: int, only: Collection[int] | None = None) -> list[UnitRow]:
        """Compute the rows of a unit without writing them; `only` some leaves the rest empty."""
        prepare = self._from_cache(self.base, number) if self.base else self._from_corpus(number)
        prepared: list[PreparedClip | UnitRow] = []
        for row in range(self.plan.units.rows[number]):
            self._check_not_stopped()
            prepared.append(
                prepare(row) if only is None or row in only else UnitRow(reason="skipped")
            )
        rows = self._run_teacher(prepared)
        requested = [i for i, row in enumerate(prepared) if isinstance(row, PreparedClip)]
        reasons = [reason for i in requested if (reason := rows[i].reason)]
        if requested and len(reasons) == len(requested):
            self._check_teacher_output(number, reasons, prepared[requested[0]])
        return rows

    def _check_teacher_output(
        self, number: int, reasons: Sequence[str], prepared: PreparedClip | UnitRow
    ) -> None:
        """Stop where a teacher has no answer to any clip of a unit: that is no clip's fault.

        Where the clips are few it is run on noise as well.
        """
        if len(reasons) < MIN_CLIPS_ALIKE and isinstance(prepared, PreparedClip):
            noise = (
                np.random.default_rng(0).standard_normal(len(prepared.samples_S)) * 0.1 * FULL_SCALE
            )
            (output,) = self._infer_batch([replace(prepared, samples_S=noise.astype(np.int16))])
            if not _unstorable(output):
                return
        raise RunError(
            f"work unit {number}: no answer of teacher {self.teacher.family} to its {len(reasons)} "
            f"clip(s) can be kept, the first since {reasons[0]}. That is no fault of the clips, so "
            "none was quarantined, and nothing written of the unit. Mend the teacher (NaN in its "
            "weights, or logits of another scale), then repeat the command with another --out.",
            kind="teacher",
        )

    def _check_not_stopped(self) -> None:
        if self._run in _stopped_runs:
            raise UnitCancelled

    def _from_corpus(self, number: int) -> Callable[[int], PreparedClip | UnitRow]:
        units = self.plan.units
        first, view = units.first_clip[number], units.view[number]
        clips = self.clip_table.clips(first, first + units.rows[number])
        views = range(view, view + 1)
        planned = view_lengths(clips, self.teacher, self.waveform_hz, self.recipe, views)[0]
        return lambda row: self.prepare_clip(clips[row], int(planned[row]), view)

    def _clip(self, place: int) -> Clip:
        (clip,) = self.clip_table.clips(place, place + 1)
        return clip

    def prepare_clip(self, clip: Clip, planned: int, view: int) -> PreparedClip | UnitRow:
        """Decode a clip and make its view of `planned` samples, or report why it is quarantined."""
        rate = self.teacher.sample_rate_hz
        try:
            decoded = decode_clip(self.corpus_root, clip, rate)
        except UnusableAudio as error:
            return UnitRow(reason=str(error))
        samples = len(decoded.waveform)
        expected = decoded_samples(clip, rate)
        if decoded.source_frames != clip.frames or (planned and samples != expected):
            reason = f"decoded {decoded.source_frames} source samples, the plan has {clip.frames}"
            return UnitRow(reason=reason, source_sha256=decoded.sha256)
        if not planned:
            length = int(self.recipe.lengths([clip], np.array([samples], np.int64), view)[0])
            return UnitRow(reason=self._length_problem(length), source_sha256=decoded.sha256)
        try:
            made = self.recipe.make(decoded.waveform, clip, view)
        except UnusableAudio as error:
            return UnitRow(reason=str(error), source_sha256=decoded.sha256)
        return _to_int16(made, decoded.sha256)

    def _length_problem(self, samples: int) -> str:
        length_s = samples / self.teacher.sample_rate_hz
        takes = f"teacher {self.teacher.family} takes {taken_lengths(self.teacher)}"
        return f"{length_s:.3f} s long; {takes}"

    def _from_cache(self, base: SealedPart, number: int) -> Callable[[int], PreparedClip | UnitRow]:
        usable = base.usable(number)
        place = np.cumsum(usable) - 1
        waveforms = base.read(WAVEFORM, number, usable)

        def prepare(row: int) -> PreparedClip | UnitRow:
            if not usable[row]:
                return UnitRow(reason="quarantined in the first part")
            prepared = PreparedClip(waveforms[int(place[row])], 1.0, "")
            samples, teacher = self._length(prepared), self.teacher
            if teacher.min_samples <= samples <= (teacher.max_samples or samples):
                return prepared
            return UnitRow(reason=self._length_problem(samples))

        return prepare

    def _length(self, prepared: PreparedClip) -> int:
        """Samples of a row at the teacher's rate."""
        return resampled_length(
            len(prepared.samples_S), self.waveform_hz, self.teacher.sample_rate_hz
        )

    def _waveform(self, prepared: PreparedClip) -> NDArray[np.float32]:
        """A row at the teacher's rate, of exactly the length that was planned."""
        waveform_S = (prepared.samples_S / np.float32(FULL_SCALE)).astype(np.float32)
        return resample_exactly(waveform_S, self.waveform_hz, self.teacher.sample_rate_hz)

    def _run_teacher(self, prepared: Sequence[PreparedClip | UnitRow]) -> list[UnitRow]:
        rows: list[UnitRow] = [h if isinstance(h, UnitRow) else UnitRow() for h in prepared]
        lengths = {
            i: self._length(h) for i, h in enumerate(prepared) if isinstance(h, PreparedClip)
        }
        near = self.teacher.batching == "near"
        outputs: dict[int, dict[str, Array]] = {}
        with self._teacher_lock:
            for batch in batches(
                lengths, self.plan.batch_clips, self.plan.batch_samples, near=near
            ):
                self._check_not_stopped()
                members = [h for i in batch if isinstance(h := prepared[i], PreparedClip)]
                outputs |= zip(batch, self._infer_batch(members), strict=True)
        for i, output in outputs.items():
            if isinstance(h := prepared[i], PreparedClip):
                rows[i] = self._row(h, output)
        return rows

    def _infer_batch(self, prepared: Sequence[PreparedClip]) -> list[dict[str, Array]]:
        """Compute this part's signals (and logits, when they are to be compared).

        In float16, and thus infinite where that cannot hold an answer.
        """
        stored = [signal_of(spec.name) for spec in self.plan.signals]
        names = [name for name in stored if name in self.teacher.signals]
        if self.compared and "logits" not in names:
            names.append("logits")
        if not names:
            return [{} for _ in prepared]
        outputs = self.teacher.infer([self._waveform(h) for h in prepared], names)
        with np.errstate(over="ignore"):
            return [{name: v.astype(np.float16) for name, v in a.items()} for a in outputs]

    def _row(self, prepared: PreparedClip, output: dict[str, Array]) -> UnitRow:
        teacher = self.plan.teacher_name
        signals = {qualified(name, teacher): value for name, value in output.items()}
        if reason := _unstorable(signals):
            return UnitRow(reason=reason, source_sha256=prepared.source_sha256)
        for spec in self.plan.signals:
            if spec.name == WAVEFORM:
                signals[WAVEFORM] = prepared.samples_S
            elif spec.name in FRONT_ENDS:
                preset = FRONT_ENDS[spec.name]
                features = front_end_features(prepared.samples_S / FULL_SCALE, preset)
                signals[spec.name] = features.astype(np.float16)
            elif spec.name in prepared.of_view:
                signals[spec.name] = prepared.of_view[spec.name]
        return UnitRow(signals=signals, source_sha256=prepared.source_sha256, gain=prepared.gain)

    def _check_same_logits(
        self, compared: SealedPart, number: int, rows: Sequence[UnitRow]
    ) -> None:
        """A signal added later must come from the teacher that gave the cached logits."""
        kept = compared.usable(number) & np.array([row.reason is None for row in rows])
        cached = compared.read(self.logits, number, kept).astype(np.float64)
        outputs = [row.signals[self.logits] for row, ok in zip(rows, kept, strict=True) if ok]
        if not outputs:
            return
        fresh, spec = np.stack(outputs), compared.plan.signal(self.logits)
        if spec.dtype == "uint16":
            k = top_k.k_of_width(*spec.row_shape)
            fresh = top_k.requantize_like(cached, fresh, k, self.teacher.task)
        deviation = float(np.abs(fresh.astype(np.float64) - cached).max())
        scale = float(np.abs(cached).max())
        if deviation > LOGIT_TOLERANCE * scale:
            raise RunError(
                f"work unit {number}: recomputed logits differ from the cached ones by {deviation:.4g} "
                f"(largest logit {scale:.4g}, allowed {LOGIT_TOLERANCE:.0e} of it). The unit was not "
                "written; make a new cache with another --out.",
                kind="stale",
            )


def _unstorable(output: Mapping[str, Array]) -> str:
    """Explain why an answer in float16 cannot be kept; nothing if it can."""
    for name, value in output.items():
        if np.isnan(value).any():
            return f"the teacher's {name} has NaN"
        if not np.isfinite(value).all():
            return f"the teacher's {name} goes beyond 65504, the largest number of float16"
    return ""


def _waveform_part(root: Path, plan: PartPlan) -> SealedPart:
    part = _part_with(root, plan, WAVEFORM)
    if part is None:
        raise RunError(
            f"{root} has no cached waveform for view {plan.first_view}", kind="missing_signal"
        )
    return part


def _part_with(root: Path, plan: PartPlan, signal: str) -> SealedPart | None:
    """Another sealed part that holds `signal` for the views of a plan."""
    for entry in load_manifest(root).parts:
        if entry.name != plan.name and entry.index_sha256 is not None:
            candidate = load_plan(root, entry)
            has_signal = any(spec.name == signal for spec in candidate.signals)
            if has_signal and candidate.first_view == plan.first_view:
                return SealedPart(root, entry)
    return None


def batches(
    lengths: dict[int, int], max_clips: int, max_samples: int, *, near: bool
) -> list[list[int]]:
    """Group rows into batches by length; depends on the rows alone, so it is the same anywhere.

    Rows of a batch have equal length, or, with `near`, lengths within 10 % of the shortest.
    """
    found: list[list[int]] = []
    for row in sorted(lengths, key=lambda row: (lengths[row], row)):
        if found:
            batch, longest = found[-1], lengths[row]
            shortest = lengths[batch[0]]
            alike = longest <= 1.1 * shortest if near else longest == shortest
            fits = len(batch) < max_clips and (len(batch) + 1) * longest <= max_samples
            if alike and fits:
                batch.append(row)
                continue
        found.append([row])
    return found

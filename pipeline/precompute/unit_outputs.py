"""What a teacher gives for the prepared rows of a work unit, and the rows that are written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.encodings import top_k
from cache_schema.errors import RunError
from cache_schema.front_ends import FRONT_ENDS, front_end_features
from cache_schema.metadata import PartPlan
from cache_schema.reader import SealedPart
from cache_schema.signal_names import FULL_SCALE, LOGITS, WAVEFORM, qualified, signal_of
from cache_schema.store.arrays import Array
from cache_schema.writer import UnitRow
from pipeline.audio.decode import resample_exactly, resampled_length
from pipeline.precompute.unit_inputs import PreparedClip
from pipeline.teachers.interface import Teacher

# A teacher without an output for any of so many clips is at fault, whatever it makes of noise.
MIN_CLIPS_ALIKE = 8
# Cached logits are float16; recomputed ones may differ by this share of the largest logit.
LOGIT_TOLERANCE = 2e-3


class TeacherRows:
    """Runs a loaded teacher on prepared rows; threads may share one.

    Parameters
    ----------
    plan : PartPlan
        Holds which signals are stored, and how rows are batched.
    teacher : Teacher
        Loaded.
    waveform_hz : int
        Rate of the prepared rows.
    with_logits : bool
        Compute the logits too where the part stores none of them.
    """

    def __init__(
        self, plan: PartPlan, teacher: Teacher, waveform_hz: int, *, with_logits: bool
    ) -> None:
        self._plan, self._teacher, self._waveform_hz = plan, teacher, waveform_hz
        self._teacher_lock = threading.Lock()
        stored = [signal_of(spec.name) for spec in plan.signals]
        self._names = [name for name in stored if name in teacher.signals]
        if with_logits and LOGITS not in self._names:
            self._names.append(LOGITS)

    def rows(
        self, prepared: Sequence[PreparedClip | UnitRow], check_not_stopped: Callable[[], None]
    ) -> list[UnitRow]:
        """Run the teacher on the rows that are no quarantine entries yet, batch by batch.

        `check_not_stopped` is called before each batch, and ends the unit by raising.
        """
        rows: list[UnitRow] = [one if isinstance(one, UnitRow) else UnitRow() for one in prepared]
        lengths = {
            i: self._length(p) for i, p in enumerate(prepared) if isinstance(p, PreparedClip)
        }
        near = self._teacher.batching == "near"
        outputs: dict[int, dict[str, Array]] = {}
        with self._teacher_lock:
            for batch in batches(
                lengths, self._plan.batch_clips, self._plan.batch_samples, near=near
            ):
                check_not_stopped()
                members = [p for i in batch if isinstance(p := prepared[i], PreparedClip)]
                outputs |= zip(batch, self._infer(members), strict=True)
        for i, output in outputs.items():
            if isinstance(p := prepared[i], PreparedClip):
                rows[i] = self._row(p, output)
        return rows

    def check_useful(
        self, number: int, prepared: Sequence[PreparedClip | UnitRow], rows: Sequence[UnitRow]
    ) -> None:
        """Stop where a teacher has no output for any clip of a unit: that is no clip's fault.

        Where the clips are few it is run on noise as well.

        Raises
        ------
        RunError
            Kind ``"teacher"``.
        """
        clips = [p for p in prepared if isinstance(p, PreparedClip)]
        given = [i for i, p in enumerate(prepared) if isinstance(p, PreparedClip)]
        reasons = [reason for i in given if (reason := rows[i].reason)]
        if not clips or len(reasons) < len(clips):
            return
        if len(clips) < MIN_CLIPS_ALIKE and self._answers_noise(clips[0]):
            return
        name = "--teacher-name" if self._plan.teacher_name else "--out"
        raise RunError(
            f"work unit {number}: no output of teacher {self._teacher.family} for its {len(reasons)} "
            f"clip(s) can be kept, the first since {reasons[0]}. That is no fault of the clips, so "
            "none was quarantined, and nothing written of the unit. Correct the teacher (NaN in its "
            f"weights, or logits of another scale), then repeat the command with another {name}.",
            kind="teacher",
        )

    def _answers_noise(self, like: PreparedClip) -> bool:
        noise_S = np.random.default_rng(0).standard_normal(len(like.samples_S)) * 0.1 * FULL_SCALE
        (output,) = self._infer([replace(like, samples_S=noise_S.astype(np.int16))])
        return not _unstorable(output)

    def _length(self, prepared: PreparedClip) -> int:
        """Samples of a row at the teacher's rate."""
        rate_hz = self._teacher.sample_rate_hz
        return resampled_length(len(prepared.samples_S), self._waveform_hz, rate_hz)

    def _waveform(self, prepared: PreparedClip) -> NDArray[np.float32]:
        """A row at the teacher's rate, of exactly the length that was planned."""
        waveform_S = (prepared.samples_S / np.float32(FULL_SCALE)).astype(np.float32)
        return resample_exactly(waveform_S, self._waveform_hz, self._teacher.sample_rate_hz)

    def _infer(self, prepared: Sequence[PreparedClip]) -> list[dict[str, Array]]:
        """Signals of each row in float16, and thus infinite where that cannot hold them."""
        if not self._names:
            return [{} for _ in prepared]
        outputs = self._teacher.infer([self._waveform(p) for p in prepared], self._names)
        _check_arrays(self._teacher.family, outputs)
        with np.errstate(over="ignore"):
            return [{name: v.astype(np.float16) for name, v in o.items()} for o in outputs]

    def _row(self, prepared: PreparedClip, output: dict[str, Array]) -> UnitRow:
        teacher = self._plan.teacher_name
        signals = {qualified(name, teacher): value for name, value in output.items()}
        if reason := _unstorable(signals):
            return UnitRow(reason=reason, source_sha256=prepared.source_sha256)
        for spec in self._plan.signals:
            if spec.name == WAVEFORM:
                signals[WAVEFORM] = prepared.samples_S
            elif spec.name in FRONT_ENDS:
                preset = FRONT_ENDS[spec.name]
                features = front_end_features(prepared.samples_S / FULL_SCALE, preset)
                signals[spec.name] = features.astype(np.float16)
            elif spec.name in prepared.of_view:
                signals[spec.name] = prepared.of_view[spec.name]
        return UnitRow(signals=signals, source_sha256=prepared.source_sha256, gain=prepared.gain)


def check_same_logits(
    cached_part: SealedPart, name: str, task: top_k.Task, number: int, rows: Sequence[UnitRow]
) -> None:
    """Check that signals added later come from the teacher that gave the cached logits.

    Raises
    ------
    RunError
        Kind ``"stale"``, with the deviation and what is allowed.
    """
    kept = cached_part.usable(number) & np.array([row.reason is None for row in rows])
    cached = cached_part.read(name, number, kept).astype(np.float64)
    logits = [row.signals[name] for row, ok in zip(rows, kept, strict=True) if ok]
    if not logits:
        return
    fresh, spec = np.stack(logits), cached_part.plan.signal(name)
    if spec.dtype == "uint16":
        k = top_k.k_of_width(*spec.row_shape)
        fresh = top_k.requantize_like(cached, fresh, k, task)
    deviation = float(np.abs(fresh.astype(np.float64) - cached).max())
    scale = float(np.abs(cached).max())
    if deviation > LOGIT_TOLERANCE * scale:
        raise RunError(
            f"work unit {number}: recomputed logits differ from the cached ones by {deviation:.4g} "
            f"(largest logit {scale:.4g}, allowed {LOGIT_TOLERANCE:.0e} of it). The unit was not "
            "written; make a new cache with another --out.",
            kind="stale",
        )


def _check_arrays(teacher: str, outputs: Sequence[Mapping[str, Any]]) -> None:
    """Reject what a plug-in gives in place of arrays, a torch tensor for one."""
    for output in outputs:
        for name, value in output.items():
            if not isinstance(value, np.ndarray | np.generic):  # a scalar of one number too
                raise RunError(
                    f"teacher {teacher} gives {name} as {type(value).__name__}, expected a NumPy array: "
                    "correct its infer",
                    kind="plugin",
                )


def _unstorable(output: Mapping[str, Array]) -> str:
    """Return why an output in float16 cannot be kept; nothing if it can."""
    for name, value in output.items():
        if np.isnan(value).any():
            return f"the teacher's {name} has NaN"
        if not np.isfinite(value).all():
            return f"the teacher's {name} goes beyond 65504, the largest number of float16"
    return ""


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

"""What ``--plan`` shows: clips, hours, units, bytes of each signal and the time it will take."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache_schema.metadata import PartPlan
from cache_schema.signal_names import signal_of
from cache_schema.writer import incomplete_units
from pipeline.precompute.inputs import Inputs
from pipeline.precompute.precompute import Precompute
from pipeline.precompute.work_unit import MAX_CONCURRENT_UNITS

TIMED_CLIPS = 8
FLOAT_BYTES, STORED_BYTES = 4, 2  # of a sample
TRAIN = "train"


@dataclass(frozen=True, slots=True)
class PlanReport:
    """Sizes and time of a request, before anything is written.

    Attributes
    ----------
    signal_bytes : dict of str to int
    objects : int
        Files, or objects of a store, one write each: a chunk of each signal and a record for every work
        unit. Index, clip table and metadata are some dozens more.
    epoch_objects, epoch_bytes : int
        What an epoch of training reads if it wants every signal: one view of the training split.
    process_bytes : int
        Most memory that this process has taken, with the corpus listed and the teacher loaded and run on
        usual clips, and what the longest ones take beside; 0 where nothing is left to compute.
    estimated_s : float
        In one process.
    """

    clips: int
    hours: float
    unreadable: int
    rows: int
    units: int
    signal_bytes: dict[str, int]
    objects: int
    epoch_objects: int
    epoch_bytes: int
    estimated_s: float
    process_bytes: int

    @property
    def total_bytes(self) -> int:
        """Of all signals."""
        return sum(self.signal_bytes.values())


def plan_report(precompute: Precompute) -> PlanReport:
    """Plan a request (or what it adds to an existing cache) and time the teacher on a few clips."""
    plans, added = precompute.planned()
    todo = [
        (plan, missing) for plan in plans if (missing := incomplete_units(precompute.out, plan))
    ]
    todo += [(plan, list(range(len(plan.units.rows)))) for plan in added]
    inputs = precompute.inputs
    samples = inputs.lengths
    rate = inputs.teacher.sample_rate_hz
    sizes: dict[str, int] = {}
    for plan, units in todo:
        for signal in plan.signals:
            size = len(units) * signal.chunk_bytes
            sizes[signal.name] = sizes.get(signal.name, 0) + size
    rows = sum(plan.units.rows[unit] for plan, units in todo for unit in units)
    audible_s = float(samples.sum()) / rate
    repeats = rows / max(len(inputs.clips), 1)
    estimated_s = audible_s * repeats * _seconds_per_second(inputs, samples) if todo else 0.0
    epoch = [(plan, _epoch_units(plan)) for plan, _ in todo]
    return PlanReport(
        clips=len(inputs.clips),
        hours=audible_s / 3600,
        unreadable=int((samples == 0).sum()),
        rows=rows,
        units=sum(len(units) for _, units in todo),
        signal_bytes=sizes,
        objects=sum(len(units) * (len(plan.signals) + 1) for plan, units in todo),
        epoch_objects=sum(units * len(plan.signals) for plan, units in epoch),
        epoch_bytes=sum(
            units * signal.chunk_bytes for plan, units in epoch for signal in plan.signals
        ),
        estimated_s=estimated_s,
        process_bytes=_peak_bytes() + _longest_bytes(inputs) if todo else 0,
    )


def _epoch_units(plan: PartPlan) -> int:
    """Work units of one view of the training split."""
    found = zip(plan.units.split, plan.units.view, strict=True)
    return sum(split == TRAIN and view == plan.first_view for split, view in found)


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _longest_bytes(inputs: Inputs) -> int:
    """Of the longest clips, one for each unit in hand: as decoded, as resampled and as stored."""
    decoded = [clip.frames * FLOAT_BYTES for clip in inputs.clips]
    taken = inputs.lengths * (FLOAT_BYTES + STORED_BYTES)
    return int(np.sort(np.array(decoded, np.int64) + taken)[-MAX_CONCURRENT_UNITS:].sum())


def _seconds_per_second(inputs: Inputs, samples: NDArray[np.int64]) -> float:
    """Time the loaded teacher on noise of the corpus' median length, per second of audio."""
    audible = samples[samples > 0]
    if not len(audible):
        return 0.0
    teacher, length = inputs.teacher, int(np.median(audible))
    teacher.load(inputs.request.device)
    generator = np.random.default_rng(0)
    clips = [generator.standard_normal(length).astype(np.float32) * 0.1 for _ in range(TIMED_CLIPS)]
    signals = [s for name in inputs.names if (s := signal_of(name)) in teacher.signals]
    teacher.infer(clips[:1], signals)
    started = time.perf_counter()
    teacher.infer(clips, signals)
    return (time.perf_counter() - started) / (TIMED_CLIPS * length / teacher.sample_rate_hz)

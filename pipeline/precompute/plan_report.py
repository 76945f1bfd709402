"""What ``--plan`` shows: clips, hours, units, bytes of each signal and the time it will take."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache_schema.signal_names import signal_of
from cache_schema.writer import missing_units
from pipeline.precompute.inputs import Inputs
from pipeline.precompute.precompute import Precompute

TIMED_CLIPS = 8


@dataclass(frozen=True, slots=True)
class PlanReport:
    """Sizes and time of a request, before anything is written."""

    clips: int
    hours: float
    unreadable: int
    rows: int
    units: int
    signal_bytes: dict[str, int]
    estimated_s: float


def plan_report(precompute: Precompute) -> PlanReport:
    """Plan a request (or what it adds to an existing cache) and time the teacher on a few clips."""
    plans, added = precompute.planned()
    todo = [(plan, missing) for plan in plans if (missing := missing_units(precompute.out, plan))]
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
    return PlanReport(
        clips=len(inputs.clips),
        hours=audible_s / 3600,
        unreadable=int((samples == 0).sum()),
        rows=rows,
        units=sum(len(units) for _, units in todo),
        signal_bytes=sizes,
        estimated_s=audible_s * repeats * _seconds_per_second(inputs, samples) if todo else 0.0,
    )


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

"""What a student costs: parameters, multiply-accumulates, size and latency, as trained."""

from __future__ import annotations

from typing import Any

import torch

from cache_schema.front_ends import FRONT_ENDS, frame_count
from cache_schema.inspection.summary import human_bytes
from cache_schema.reader import Cache
from student.export.cost import count_macs, count_parameters, machine, measure_latency
from student.models.interface import Student
from student.report.run_folder import RunFolder
from student.runs.checkpoint import WEIGHTS, load_student
from student.stream.unit_loader import typical_frames


def cost_rows(run: RunFolder, cache: Cache | None) -> list[list[str]]:
    """Measure a run's student on a clip of median length, or of 1 s where no cache is at hand."""
    student = load_student(run.path, run.config)
    frames = _frames(student, cache)
    form = student.for_clip(frames)
    features_1TM = torch.zeros(1, frames, FRONT_ENDS[student.front_end].features)
    with torch.no_grad():
        latency = measure_latency(lambda: form(features_1TM))
    seconds = frames * FRONT_ENDS[student.front_end].hop_s
    of = f"a clip of {seconds:.3g} s ({frames} frames)"
    facts: dict[str, Any] = machine()
    size = (run.path / WEIGHTS).stat().st_size
    return [
        ["parameters, normalisation folded", f"{count_parameters(form):,}"],
        [f"multiply-accumulates, {of}", f"{count_macs(form, [features_1TM]):,}"],
        ["size of the weights, float32", human_bytes(size)],
        [
            f"latency of {of}, p50 / p95, PyTorch on one thread",
            f"{latency.p50_ms:.3g} / {latency.p95_ms:.3g} ms",
        ],
        ["measured on", f"{facts['cpu']}, load {facts['load_average']}"],
        ["front end, not counted", student.front_end],
    ]


def _frames(student: Student, cache: Cache | None) -> int:
    preset = FRONT_ENDS[student.front_end]
    if cache is None:
        return frame_count(preset.sample_rate_hz, preset)
    return typical_frames(cache, student.front_end)

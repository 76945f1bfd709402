"""How long a real precompute run leaves its teacher without a question.

Real clips, Whisper's real encoder, in one process: every question is timed from outside.
"""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from figures import SHARED, Figure

from pipeline.precompute.inputs import Request
from pipeline.precompute.precompute import Precompute
from pipeline.teachers.whisper import WhisperTeacher

# Folder, clips and rows of a work unit; six units each.
CORPORA = {"1-s speech": ("speech_commands_v2_12", 768, 128), "5-s sounds": ("esc10", 240, 40)}
QUICK_CLIPS, QUICK_ROWS = 6, 2
ENCODER, QUICK_ENCODER = "whisper-base-encoder", "whisper-tiny.en-encoder"


@dataclass
class Questions:
    """When the teacher began and had answered, and the CPU seconds of the calling thread."""

    spans_s: list[tuple[float, float]] = field(default_factory=list)
    cpu_s: float = 0.0

    def waiting_share(self) -> float:
        """Part of the time from the first question to the last answer without a question."""
        busy_s = sum(end - start for start, end in self.spans_s)
        return 1 - busy_s / (self.spans_s[-1][1] - self.spans_s[0][0])


def waiting_shares(scratch: Path, *, quick: bool) -> Iterator[Figure]:
    """One run for each corpus."""
    encoder = SHARED / "models" / (QUICK_ENCODER if quick else ENCODER)
    for name, (folder, clips, rows) in CORPORA.items():
        what = f"teacher waits for decoding and writing, {name}"
        if not encoder.is_dir() or not (SHARED / "data" / folder).is_dir():
            yield Figure(what, None, "%", note=f"needs {encoder.name} and {folder}")
            continue
        count, in_unit = (QUICK_CLIPS, QUICK_ROWS) if quick else (clips, rows)
        corpus = _manifest(scratch / f"{folder}.csv", SHARED / "data" / folder, count)
        out = scratch / f"{folder}.zarr"
        shutil.rmtree(out, ignore_errors=True)
        request = Request(
            corpora=(corpus,),
            teacher=str(encoder),
            out=out,
            signals=("log_mel",),
            unit_rows=in_unit,
        )
        with watched_teacher() as questions:
            Precompute(request).run(lambda *_: None, lambda *_: None)
        busy_s = sum(end - start for start, end in questions.spans_s)
        yield Figure(
            what,
            100 * questions.waiting_share(),
            "%",
            bound="<= 3",
            against="first question to last answer, wall clock",
            note=f"{encoder.name}, log_mel too, {count} clips in units of {in_unit}",
            details={
                "questions": len(questions.spans_s),
                "answering_s": busy_s,
                "answering_cpu_s": questions.cpu_s,
            },
        )


@contextmanager
def watched_teacher() -> Iterator[Questions]:
    """Note every question to a Whisper teacher of this process."""
    questions, infer = Questions(), WhisperTeacher.infer

    def watched(self: WhisperTeacher, waveforms: Any, signals: Sequence[str]) -> Any:
        start_s, cpu_s = time.perf_counter(), time.thread_time()
        answers = infer(self, waveforms, signals)
        questions.spans_s.append((start_s, time.perf_counter()))
        questions.cpu_s += time.thread_time() - cpu_s
        return answers

    WhisperTeacher.infer = watched  # type: ignore[method-assign]
    try:
        yield questions
    finally:
        WhisperTeacher.infer = infer  # type: ignore[method-assign]


def _manifest(path: Path, folder: Path, count: int) -> str:
    """List some of the clips, spread over the folder; none is labelled."""
    files = sorted(folder.rglob("*.flac"))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for chosen in files[:: len(files) // count][:count]:
            writer.writerow([chosen.relative_to(folder), "sound", "train"])
    return f"csv:{path}?root={folder}"

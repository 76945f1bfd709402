"""Measure students as files: ``python tests/benchmarks/device_formats.py RUN... --cache C --out F``.

A figure is given also where a bar is missed and `export-student` would keep nothing; the row says so.
Time is the CPU time of one thread, as a share of the time of the same form in PyTorch.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from time import process_time
from typing import Any

import click
import torch
from figures import interleaved, median

from cache_schema.errors import AftersoundError
from student.export.bars import check_int8, check_parity
from student.export.clips import TrialClip, held_out_clips, training_clips
from student.export.export import STEP_CALIBRATION_CLIPS, prepared
from student.export.facts import ExportJob
from student.export.interface import Arrays, Runner
from student.export.parity import Parity, Trial, steps
from student.export.request import ExportRequest, load_exporter
from student.training.determinism import prepare_torch

FORMATS = ("onnx", "litert", "executorch")
ROUNDS = 30
HEADER = (
    "student", "format", "form", "type", "KB", "largest difference", "same class",
    "accuracy of student → file", "time", "arena, KB", "remark",
)  # fmt: skip


@dataclass(kw_only=True)
class Row:
    """One file, or why there is none."""

    student: str
    format: str
    form: str
    precision: str
    size_bytes: int | None = None
    difference: float | None = None
    agreement: float | None = None
    student_score: float | None = None
    file_score: float | None = None
    latency: float | None = None
    arena_bytes: int | None = None
    remark: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """As the table has it."""
        scores = ""
        if self.student_score is not None and self.file_score is not None:
            scores = f"{self.student_score:.1%} → {self.file_score:.1%}"
        return (
            f"`{self.student}`",
            self.format,
            self.form,
            self.precision,
            _shown(self.size_bytes, lambda size: f"{size / 1000:,.0f}"),
            _shown(self.difference, lambda difference: f"{difference:.0e}"),
            _shown(self.agreement, lambda share: f"{share:.1%}"),
            scores,
            _shown(self.latency, lambda ratio: f"{ratio:.2f}"),
            _shown(self.arena_bytes, lambda size: f"{size / 1000:,.0f}"),
            self.remark,
        )


def _shown(value: Any, written: Callable[[Any], str]) -> str:
    return "" if value is None else written(value)


def measure(
    run: Path, cache: Path, to: str, *, step: bool, int8: bool, count: int
) -> Iterator[Row]:
    """Yield the rows of the float and the int8 file of one form, as far as the format has them."""
    row = Row(student=run.name, format=to, form="step" if step else "whole", precision="float")
    request = ExportRequest(
        run=run, to=to, out=Path("unused"), length_s=None if step else 1.0, waveform=False,
        streaming=step, int8=int8, calibrate=cache, clips=200, page=None,
    )  # fmt: skip
    try:
        job = prepared(request, load_exporter(to))
        row.student = job.config["student"]
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / job.exporter.file_name
            yield from _rows(job, cache, path, row, count)
    except AftersoundError as error:
        yield Row(student=row.student, format=to, form=row.form, precision="",
                  remark=" ".join(str(error).split()))  # fmt: skip


def _rows(job: ExportJob, cache: Path, path: Path, row: Row, count: int) -> Iterator[Row]:
    assert job.cache is not None
    name = job.student.front_end
    calibration = list(training_clips(job.cache, name, job.spec, job.request.clips))
    clips = held_out_clips(job.cache, name, job.spec, count, len(calibration))
    trial = Trial.of(job.student, job.spec, clips, job.contract.task, job.contract.classes)
    job.exporter.write(job.graph, path)
    runner = job.exporter.load(path)
    found = trial.compare(runner, exact=True)
    _fill(row, job, path, runner, found)
    row.remark = _missed(lambda: check_parity(found, job.spec, path.name))
    yield row
    if not job.request.int8:
        return
    made = path.with_name(f"int8-{path.name}")
    inputs = _calibration(job, runner, calibration)
    job.exporter.quantize(job.graph, path, made, inputs)
    smaller = _int8_row(job, path, made, trial, row, "int8")
    yield smaller
    if smaller.remark and job.exporter.quantizes_weights_alone:
        made.unlink()
        job.exporter.quantize_weights(job.graph, path, made)
        yield _int8_row(job, path, made, trial, row, "int8 weights")


def _int8_row(
    job: ExportJob, path: Path, made: Path, trial: Trial, row: Row, precision: str
) -> Row:
    runner = job.exporter.load(made)
    found = trial.compare(runner, exact=False)
    smaller = Row(student=row.student, format=row.format, form=row.form, precision=precision)
    _fill(smaller, job, made, runner, found)
    sizes = made.stat().st_size, path.stat().st_size
    smaller.remark = _missed(lambda: check_int8(found, *sizes, has_step=False, name=path.name))
    return smaller


def _calibration(job: ExportJob, floats: Runner, clips: Sequence[TrialClip]) -> list[Arrays]:
    if not job.calibrates:
        return []
    if not job.streaming:
        return [{job.spec.takes: clip.features_TM[None]} for clip in clips]
    chosen = islice(clips, STEP_CALIBRATION_CLIPS)
    return [inputs for c in chosen for inputs, _ in steps(floats, c, job.spec, job.front_end)]


@torch.no_grad()
def _fill(row: Row, job: ExportJob, path: Path, runner: Runner, found: Parity) -> None:
    row.size_bytes = path.stat().st_size
    row.difference, row.agreement = found.largest_difference, found.agreement
    row.student_score, row.file_score = found.student_score, found.file_score
    tensors = list(job.graph.inputs.values())
    arrays = {name: tensor.numpy() for name, tensor in job.graph.inputs.items()}
    cases = {"file": lambda: runner.run(arrays), "torch": lambda: job.graph.module(*tensors)}
    found_s = {case: median(s) for case, s in interleaved(cases, ROUNDS, process_time).items()}
    row.latency = found_s["file"] / found_s["torch"]
    if path.suffix == ".tflite":
        from student.export.arena import answers_as_litert, smallest_arena_bytes

        size_bytes = smallest_arena_bytes(path)
        row.arena_bytes = size_bytes if size_bytes and answers_as_litert(path) else None


def _missed(check: Callable[[], None]) -> str:
    """Give the bars that a file misses."""
    try:
        check()
    except AftersoundError as error:
        lines = str(error).splitlines()
        return "; ".join(line.removeprefix("  - ") for line in lines if line.startswith("  - "))
    return ""


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {' | '.join(HEADER)} |"
    yield f"| {' | '.join('---' for _ in HEADER)} |"
    for row in rows:
        yield f"| {' | '.join(row.cells)} |"


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--cache", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--to", "formats", multiple=True, type=click.Choice(FORMATS), default=FORMATS)
@click.option("--step", is_flag=True, help="Steps of one frame.")
@click.option("--int8/--float", default=True, help="Whether also in int8.")
@click.option("--clips", default=500, help="Held-out clips to try the files on.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="JSON lines, appended.")
def main(
    runs: Sequence[Path], cache: Path, formats: Sequence[str], step: bool, int8: bool, clips: int,
    out: Path,
) -> None:  # fmt: skip
    """Export RUNS in each format, keep a row of each file, and print the table of all rows kept."""
    prepare_torch(1)
    for run in runs:
        for to in formats:
            for row in measure(run, cache, to, step=step, int8=int8, count=clips):
                with out.open("a") as file:
                    file.write(json.dumps(asdict(row)) + "\n")
    print("\n".join(table([Row(**json.loads(line)) for line in out.read_text().splitlines()])))


if __name__ == "__main__":
    main()

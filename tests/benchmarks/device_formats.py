"""Measure students as files: ``python tests/benchmarks/device_formats.py RUN... --cache C --out F``.

Each run in each of its forms of fixed shapes and each format, in float and int8. A figure is given also
where a bar is missed and `export-student` would keep nothing; the row then says refused. Time is the
CPU time of one thread, as a share of the time of the same form in PyTorch. What F has already is not
measured again, so that a killed run goes on where it was.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
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
from student.runs.predict import read_config
from student.runs.settings import student_class
from student.training.determinism import prepare_torch

FORMATS = {"onnx": "ONNX", "litert": "LiteRT", "executorch": "ExecuTorch"}
WHOLE, STEP = "1 s", "step"
ROUNDS = 100
# What of a file is in int8 where it is not weights and activations, as the table marks it.
MARKS = {"weights alone": " *w*", "weights, and activations by scales found as it runs": " *a*"}
HEADER = (
    "student", "form", "format", "KB", "largest difference", "same class", "accuracy in %", "time",
    "arena, KB",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class File:
    """One file, and the bars that it misses."""

    precision: str
    size_bytes: int
    difference: float
    agreement: float
    clips: int
    student_score: float | None
    file_score: float | None
    latency: float
    arena_bytes: int | None
    missed: str


@dataclass(kw_only=True)
class Row:
    """A form of a student in one format: its float file and its int8 files, or why there is none."""

    student: str
    form: str
    format: str
    files: list[File] = field(default_factory=list)
    message: str = ""

    @property
    def shown(self) -> list[File]:
        """The float file and the last int8 one."""
        return [self.files[0], *self.files[1:][-1:]]

    @property
    def cells(self) -> tuple[str, ...]:
        """As the table has it: float → the last int8 file."""
        names = f"`{self.student}`", self.form, FORMATS[self.format]
        if not self.files:
            return (*names, self.message, *[""] * (len(HEADER) - 4))
        shown, last = self.shown, self.files[-1]
        scores = [last.student_score or 0.0, last.file_score or 0.0]
        arenas = [_arena(file) for file in shown] if self.format == "litert" else []
        return (
            *names,
            " → ".join(_size(file) for file in shown),
            f"{self.files[0].difference:.0e}",
            f"{last.agreement:.1%}",
            " → ".join(f"{100 * score:.1f}" for score in scores),
            " → ".join(f"{file.latency:.2f}" for file in shown),
            " → ".join(arenas),
        )


def _size(file: File) -> str:
    size = f"{file.size_bytes / 1000:,.0f}{MARKS.get(file.precision, '')}"
    return f"refused ({size})" if file.missed else size


def _arena(file: File) -> str:
    return "none" if file.arena_bytes is None else f"{file.arena_bytes / 1000:,.0f}"


def measure(run: Path, cache: Path, to: str, form: str, count: int) -> Row:
    """Measure the float and the int8 file of one form, as far as the format has them."""
    row = Row(student=read_config(run)["student"], form=form, format=to)
    request = ExportRequest(
        run=run, to=to, out=Path("unused"), length_s=1.0 if form == WHOLE else None,
        waveform=False, streaming=form == STEP, int8=True, calibrate=cache, clips=200, page=None,
    )  # fmt: skip
    try:
        job = prepared(request, load_exporter(to))
        with tempfile.TemporaryDirectory() as scratch:
            row.files += _files(job, Path(scratch) / job.exporter.file_name, count)
    except AftersoundError as error:
        row.message = " ".join(str(error).split())
    return row


def _files(job: ExportJob, path: Path, count: int) -> Iterator[File]:
    assert job.cache is not None
    name = job.student.front_end
    calibration = list(training_clips(job.cache, name, job.spec, job.request.clips))
    clips = held_out_clips(job.cache, name, job.spec, count, len(calibration))
    trial = Trial.of(job.student, job.spec, clips, job.contract.task, job.contract.classes)
    job.exporter.write(job.graph, path)
    runner = job.exporter.load(path)
    found = trial.compare(runner, exact=True)
    missed = _missed(lambda: check_parity(found, job.spec, path.name))
    yield _file(job, path, runner, found, "float", missed)
    made = path.with_name(f"int8-{path.name}")
    job.exporter.quantize(job.graph, path, made, _calibration(job, runner, calibration))
    smaller = _int8_file(job, path, made, trial, "int8")
    yield smaller
    if smaller.missed and job.exporter.quantizes_weights_alone(job.graph):
        made.unlink()
        job.exporter.quantize_weights(job.graph, path, made)
        yield _int8_file(job, path, made, trial, job.exporter.weights_alone)


def _int8_file(job: ExportJob, path: Path, made: Path, trial: Trial, precision: str) -> File:
    runner = job.exporter.load(made)
    found = trial.compare(runner, exact=False)
    sizes = made.stat().st_size, path.stat().st_size
    missed = _missed(
        lambda: check_int8(found, *sizes, has_step=False, more_clips=False, name=path.name)
    )
    return _file(job, made, runner, found, precision, missed)


def _calibration(job: ExportJob, floats: Runner, clips: Sequence[TrialClip]) -> list[Arrays]:
    if not job.calibrates:
        return []
    if not job.streaming:
        return [{job.spec.takes: clip.features_TM[None]} for clip in clips]
    chosen = islice(clips, STEP_CALIBRATION_CLIPS)
    return [inputs for c in chosen for inputs, _ in steps(floats, c, job.spec, job.front_end)]


@torch.no_grad()
def _file(
    job: ExportJob, path: Path, runner: Runner, found: Parity, precision: str, missed: str
) -> File:
    tensors = list(job.graph.inputs.values())
    arrays = {name: tensor.numpy() for name, tensor in job.graph.inputs.items()}
    cases = {"file": lambda: runner.run(arrays), "torch": lambda: job.graph.module(*tensors)}
    found_s = {case: median(s) for case, s in interleaved(cases, ROUNDS, process_time).items()}
    arena_bytes = None
    if path.suffix == ".tflite":
        from student.export.arena import answers_as_litert, smallest_arena_bytes

        smallest = smallest_arena_bytes(path)
        arena_bytes = smallest if smallest and answers_as_litert(path) else None
    return File(
        precision=precision,
        size_bytes=path.stat().st_size,
        difference=found.largest_difference,
        agreement=found.agreement,
        clips=found.clips,
        student_score=found.held_out.student,
        file_score=found.held_out.file,
        latency=found_s["file"] / found_s["torch"],
        arena_bytes=arena_bytes,
        missed=missed,
    )


def _missed(check: Callable[[], None]) -> str:
    """Give the bars that a file misses."""
    try:
        check()
    except AftersoundError as error:
        lines = str(error).splitlines()
        return "; ".join(line.removeprefix("  - ") for line in lines if line.startswith("  - "))
    return ""


def kept_rows(out: Path) -> list[Row]:
    """Read the rows of a file."""
    lines = out.read_text().splitlines() if out.exists() else []
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [Row(**{**row, "files": [File(**file) for file in row["files"]]}) for row in found]


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table, and of one that says why files were refused."""
    yield f"| {' | '.join(HEADER)} |"
    yield f"| {' | '.join('---' for _ in HEADER)} |"
    for row in rows:
        yield f"| {' | '.join(row.cells)} |"
    yield from ("", "| refused | message |", "| --- | --- |")
    for row in rows:
        for file in (file for file in row.files and row.shown if file.missed):
            named = f"`{row.student}`, {row.form}, {FORMATS[row.format]}, {file.precision}"
            yield f"| {named} | `{file.missed}` |"


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--cache", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--clips", default=500, help="Held-out clips to try the files on.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="JSON lines, appended.")
def main(runs: Sequence[Path], cache: Path, clips: int, out: Path) -> None:
    """Export RUNS in each form and format, keep a row of each, and print the table of all rows kept."""
    prepare_torch(1)
    for run in runs:
        name = read_config(run)["student"]
        for form in (WHOLE,) if student_class(name).why_not_step else (WHOLE, STEP):
            done = {(row.student, row.form, row.format) for row in kept_rows(out)}
            for to in (to for to in FORMATS if (name, form, to) not in done):
                row = measure(run, cache, to, form, clips)
                with out.open("a") as file:
                    file.write(json.dumps(asdict(row)) + "\n")
    print("\n".join(table(kept_rows(out))))


if __name__ == "__main__":
    main()

"""``predict-audio``: a student's predictions for recordings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from cache_schema.command_line.command import Command, Number
from cache_schema.errors import RunError, UsageError, bullet_list
from cache_schema.paths import LocalPath, OutputFile
from cache_schema.store.files import write_atomic
from cache_schema.terminal import echo, emit, wide_terminal
from cache_schema.text import one_line
from student.predict.formats import OUTPUTS, WRITERS, csv_header, table
from student.predict.predictor import Predictor, open_predictor
from student.predict.recordings import UnusableRecording
from student.predict.stretches import Stretches, StretchPrediction, predict_stretches

MAX_WINDOW_S = 200.0
MAX_OVERLAP = 0.99
MAX_TOP = 100_000
TABLE = "table"


@click.command("predict-audio", cls=Command)
@click.argument("model", type=LocalPath())
@click.argument("recordings", type=LocalPath(readable=False), nargs=-1, required=True)
@click.option(
    "--window-s",
    type=Number(0.01, MAX_WINDOW_S),
    metavar="S",
    help="Cut recordings into windows. Default: the length that the student was exported for, "
    "or that nearly all clips had that a run learned from; else whole recordings up to 30 s.",
)
@click.option(
    "--overlap",
    type=Number(0, MAX_OVERLAP),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Share of a window that the next one overlaps.",
)
@click.option("--frames", is_flag=True, help="Show where in time the student attends.")
@click.option(
    "--top",
    type=click.IntRange(1, MAX_TOP),
    metavar="K",
    help="The K likeliest classes. Default: the likeliest; of a multi-label student those above 0.5, in "
    "CSV and JSON every class.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice([TABLE, *WRITERS]),
    help=f"Default: that of --out, else {TABLE}.",
)
@click.option(
    "--out",
    type=OutputFile(OUTPUTS),
    metavar="FILE.csv|FILE.jsonl",
    help="Write CSV or JSON lines there instead.",
)
def main(
    model: Path,
    recordings: tuple[Path, ...],
    window_s: float | None,
    overlap: float,
    frames: bool,
    top: int | None,
    form: str | None,
    out: Path | None,
) -> None:
    """Print what MODEL predicts for RECORDINGS.

    MODEL is a run of train-student, or an exported ONNX file, which needs no torch. A recording that
    cannot be used is named at the end, with the reason; the others are there.
    """
    form = form or (TABLE if out is None else out.suffix[1:].lower())
    _check_output(out, form, model)
    predictor = open_predictor(model)
    if frames and not predictor.has_attention:
        raise UsageError(
            f"--frames: {model} has no attention. Leave --frames out, or take the run folder",
            kind="options",
        )
    stretches = Stretches.of(predictor, window_s, overlap)
    batch = _Recordings(predictor, recordings, stretches)
    if window_s is None and predictor.length_samples is None and predictor.usual_samples:
        echo(
            f"windows of {stretches.window / predictor.sample_rate_hz:g} s, as the clips that {model} "
            "learned from (--window-s changes it)",
            err=True,
        )
    _write(batch.predictions(), predictor.task, top, frames, form, out)
    _report(batch, model)


def _report(batch: _Recordings, model: Path) -> None:
    """Report what silence was added to, and name what could not be used."""
    if batch.filled_up:
        length_s = batch.stretches.window / batch.predictor.sample_rate_hz
        echo(
            f"{batch.filled_up} recording(s) are shorter than {length_s:g} s, which {model} takes: "
            "silence follows them",
            err=True,
        )
    if batch.failed:
        raise RunError(
            f"{len(batch.failed)} of {len(batch.recordings)} recording(s) could not be used\n"
            f"{bullet_list(batch.failed)}\nMake them readable, repair them, convert them to "
            "WAV or FLAC, or leave them out, and repeat the command.",
            kind="recordings",
        )


def _check_output(out: Path | None, form: str, model: Path) -> None:
    if out is None:
        return
    if form == TABLE:
        raise UsageError(
            f"--out {out}: a table is for the terminal; leave --format out", kind="options"
        )
    if out.suffix.lower() != f".{form}":
        raise UsageError(
            f"--out {out} is written as --format {form}; name a file that ends in .{form}",
            kind="options",
        )
    if model.is_dir() and Path(os.path.realpath(out)).is_relative_to(os.path.realpath(model)):
        raise UsageError(f"--out {out} is what is to be read; choose another file", kind="options")


@dataclass(slots=True)
class _Recordings:
    """Recordings to predict, and what became of them.

    Attributes
    ----------
    failed : list of str
        Those that cannot be used, each with its reason.
    filled_up : int
        Those shorter than the one length that the student takes.
    """

    predictor: Predictor
    recordings: Sequence[Path]
    stretches: Stretches
    failed: list[str] = field(default_factory=list)
    filled_up: int = 0

    def predictions(self) -> Iterator[StretchPrediction]:
        """Yield the predictions of all; of one that is damaged at its end, none."""
        length = self.predictor.length_samples or 0
        for recording in self.recordings:
            try:
                rows = list(predict_stretches(self.predictor, recording, self.stretches))
                self.filled_up += sum(row.samples < length for row in rows)
                yield from rows
            except UnusableRecording as problem:
                self.failed.append(f"{one_line(recording)}: {problem}")
            except OSError as error:
                reason = f"{error.strerror or error}{_hint(recording)}"
                self.failed.append(f"{one_line(recording)}: {reason}")


def _hint(recording: Path) -> str:
    if str(recording) == "-":
        return " (stream-audio reads standard input)"
    return " (predict-audio takes files)" if recording.is_dir() else ""


def _write(
    found: Iterator[StretchPrediction],
    task: str,
    top: int | None,
    frames: bool,
    form: str,
    out: Path | None,
) -> None:
    if form == TABLE:
        rows = list(found)
        if rows:
            wide_terminal().print(table(rows, task, top, frames))
        return
    lines = (WRITERS[form](row, task, top, frames) for row in found)
    header = [csv_header(frames)] if form == "csv" else []
    if out is not None:
        write_atomic(out, "".join(f"{line}\n" for line in [*header, *lines]).encode())
        return
    for line in (*header, *lines):
        emit(line)

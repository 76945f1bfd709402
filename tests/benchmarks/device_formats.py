"""What each student is as a file of each format: ``python tests/benchmarks/device_formats.py --help``.

Every figure is `export-student`'s own, from the card or from what it says where a bar is missed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from cache_schema.errors import AftersoundError
from student.export.export import export
from student.export.request import Request
from student.training.determinism import prepare_torch

FORMATS = ("onnx", "litert", "executorch")
HEADER = (
    "student", "format", "form", "type", "KB", "largest difference", "same class",
    "accuracy, student → file", "ms / PyTorch", "arena KB",
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
    scores: tuple[float, float] | None = None
    latency: float | None = None
    arena_bytes: int | None = None
    refused: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """As the table has it."""
        head = (f"`{self.student}`", self.format, self.form, self.precision)
        if self.refused:
            return (*head, self.refused, "", "", "", "", "")
        scores = "" if self.scores is None else " → ".join(f"{s:.1%}" for s in self.scores)
        return (
            *head,
            _shown(self.size_bytes, lambda size: f"{size / 1000:,.0f}"),
            _shown(self.difference, lambda difference: f"{difference:.1g}"),
            _shown(self.agreement, lambda share: f"{share:.1%}"),
            scores,
            _shown(self.latency, lambda ratio: f"{ratio:.2f}"),
            _shown(self.arena_bytes, lambda size: f"{size / 1000:,.0f}"),
        )


def _shown(value: Any, written: Any) -> str:
    return "" if value is None else str(written(value))


def measure_file(run: Path, cache: Path, to: str, *, step: bool, int8: bool) -> Row:
    """Export a run and read what the card says."""
    name = json.loads((run / "config.json").read_text())["student"]
    row = Row(
        student=name,
        format=to,
        form="step" if step else "whole",
        precision="int8" if int8 else "float",
    )
    with tempfile.TemporaryDirectory() as scratch:
        request = Request(
            run=run, to=to, out=Path(scratch) / "out", length_s=None if step else 1.0, waveform=False,
            streaming=step, int8=int8, calibrate=cache, clips=200,
        )  # fmt: skip
        try:
            card = export(request, lambda line: print(line, file=sys.stderr))
        except AftersoundError as error:
            row.refused = " ".join(str(error).split())
            return row
    fill(row, card)
    return row


def fill(row: Row, card: dict[str, Any]) -> None:
    """Take a row's figures from a card."""
    parity = card["parity"]["int8" if row.precision == "int8" else "float"]
    row.size_bytes = next(size for file, size in card["files"].items() if file.startswith("model."))
    row.difference, row.agreement = parity["largest_difference"], parity["agreement"]
    if parity["student_score"] is not None:
        row.scores = (parity["student_score"], parity["file_score"])
    latency = card["cost"]["latency"]
    row.latency = latency["file"]["p50_ms"] / latency["PyTorch"]["p50_ms"]
    row.arena_bytes = card["cost"].get("arena_bytes")


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
@click.option("--int8", is_flag=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="JSON lines, appended.")
def main(
    runs: Sequence[Path], cache: Path, formats: Sequence[str], step: bool, int8: bool, out: Path
) -> None:
    """Export RUNS in each format, and keep a row of each; prints the table of all rows of the file."""
    prepare_torch(1)
    for run in runs:
        for to in formats:
            row = measure_file(run, cache, to, step=step, int8=int8)
            with out.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
    print("\n".join(table([Row(**json.loads(line)) for line in out.read_text().splitlines()])))


if __name__ == "__main__":
    main()

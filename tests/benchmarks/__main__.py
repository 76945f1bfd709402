"""Measure what this folder's README.md has on speed and size: ``python tests/benchmarks [NAME ...]``.

Each figure is a ratio or a share of one run; nothing here is a test, and no test is timed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import torch
from figures import Figure, machine
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

# Each module has `measure(scratch: Path, *, quick: bool) -> Iterator[Figure]`.
BENCHMARKS = (
    "reading", "stall", "afar", "step", "teacher", "online", "size", "growth", "planning", "export"
)  # fmt: skip


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(BENCHMARKS))
@click.option("--out", type=click.Path(path_type=Path), help="Write everything as JSON.")
@click.option(
    "--quick", is_flag=True, help="Tiny inputs: shows that it runs; figures mean nothing."
)
@click.option(
    "--scratch",
    type=click.Path(path_type=Path),
    help="Keep inputs in this folder and use them again.",
)
def main(names: Sequence[str], out: Path | None, quick: bool, scratch: Path | None) -> None:
    """Run the named benchmarks (default: all) one after the other on a quiet machine."""
    torch.set_num_threads(1)
    console = Console(soft_wrap=True, markup=False, highlight=False)
    document: dict[str, Any] = {"machine": machine(), "quick": quick, "benchmarks": {}}
    with tempfile.TemporaryDirectory(prefix="aftersound-benchmarks-") as temporary:
        for name in names or BENCHMARKS:
            folder = (scratch or Path(temporary)) / ("quick" if quick else "full") / name
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.tempdir = str(folder)  # for what trainings leave behind
            found = []
            for figure in import_module(name).measure(folder, quick=quick):
                found.append(figure)
                console.print(_line(figure))
                document["benchmarks"][name] = [asdict(f) | {"held": f.held} for f in found]
                if out is not None:
                    out.write_text(json.dumps(document, indent=2) + "\n")
            console.print(_table(name, found, quick=quick))


def _line(figure: Figure) -> str:
    return f"{figure.what}: {_value(figure)} {figure.note}".rstrip()


def _value(figure: Figure) -> str:
    return "left out" if figure.value is None else f"{figure.value:.4g} {figure.unit}"


def _table(name: str, figures: Sequence[Figure], *, quick: bool) -> Table:
    table = Table(name, "value", "bound", "held", "against", "note", box=None)
    for figure in figures:
        held = {True: "yes", False: "NO", None: ""}[None if quick else figure.held]
        table.add_row(figure.what, _value(figure), figure.bound, held, figure.against, figure.note)
    return table


if __name__ == "__main__":
    main()

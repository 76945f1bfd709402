"""``export-student``: write a trained student as a file that a device runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cache_schema.command_line.command import Command
from cache_schema.paths import LocalPath, OutputPath
from cache_schema.plugins import plugin_names
from cache_schema.terminal import say
from student.export import EXPORTERS
from student.export.export import export
from student.export.request import ANY_LENGTH, Request
from student.training.determinism import prepare_torch

MAX_LENGTH_S = 240.0
MOST_CLIPS = 10_000


class Length(click.ParamType[Any]):
    """Seconds above 0, or ``any``."""

    name = "S|any"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read one or the other."""
        if value == ANY_LENGTH:
            return value
        try:
            seconds = float(value)
        except ValueError:
            seconds = float("nan")
        if not 0 < seconds <= MAX_LENGTH_S:
            self.fail(
                f"expected seconds above 0, at most {MAX_LENGTH_S:g}, or {ANY_LENGTH}, got {value!r}",
                param,
                ctx,
            )
        return seconds


@click.command("export-student", cls=Command)
@click.argument("run", type=LocalPath())
@click.option(
    "--to",
    required=True,
    metavar="FORMAT",
    help=f"One of: {', '.join(plugin_names(EXPORTERS, 'exporter'))}.",
)
@click.option(
    "--out",
    required=True,
    type=OutputPath(),
    help="Folder of the export; made here, all or nothing.",
)
@click.option(
    "--length-s",
    type=Length(),
    help="Length of the clips in seconds, or 'any' for a form of any length, which convolutional "
    "students and ast-tiny have. Default: the commonest length of a training clip of --calibrate.",
)
@click.option(
    "--waveform", is_flag=True, help="Put the front end into the file: samples in, logits out."
)
@click.option(
    "--streaming",
    is_flag=True,
    help="One frame at a time, the state as inputs and outputs: crnn and lstm-p. For others slide a "
    "window: a form of one length.",
)
@click.option("--int8", is_flag=True, help="Quantise to 8 bits; needs --calibrate.")
@click.option(
    "--calibrate",
    type=LocalPath(),
    metavar="CACHE",
    help="Real clips: to try the file on (500 held-out ones, if there are), and to calibrate int8 with. "
    "Default: the file is tried on generated clips.",
)
@click.option(
    "--clips",
    type=click.IntRange(1, MOST_CLIPS),
    default=200,
    show_default=True,
    help="Training clips that int8 is calibrated with.",
)
def main(
    run: Path,
    to: str,
    out: Path,
    length_s: float | str | None,
    waveform: bool,
    streaming: bool,
    int8: bool,
    calibrate: Path | None,
    clips: int,
) -> None:
    """Write the student of RUN for a device, and show that the file answers alike.

    The folder holds the file, its device card (card.json, CARD.md), test vectors, and for a file that
    takes features the front end. What misses a bar is not written.
    """
    prepare_torch(1)
    request = Request(
        run=run,
        to=to,
        out=out,
        length_s=length_s,
        waveform=waveform,
        streaming=streaming,
        int8=int8,
        calibrate=calibrate,
        clips=clips,
    )
    card = export(request, say)
    latency = card["cost"]["latency"]["file"]
    say(
        f"{out}: {', '.join(card['files'])}, card.json, CARD.md; {card['cost']['macs']:,} "
        f"multiply-accumulates, {latency['p50_ms']:.3g} ms of {card['cost']['of']}"
    )

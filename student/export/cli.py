"""``export-student``: write a trained student as a file that a device runs."""

from __future__ import annotations

from typing import Any

import click

from cache_schema.command_line.command import Command
from cache_schema.paths import CacheArgument, LocalPath, OutputPath
from cache_schema.plugins import plugin_names
from cache_schema.terminal import echo
from cache_schema.text import shell_word
from student.export import ANY_LENGTH, CALIBRATION_CLIPS, EXPORTERS

MAX_LENGTH_S = 240.0
MAX_CLIPS = 10_000


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
    type=OutputPath(moved_there=True),
    help="Folder of the export; made here, all or nothing.",
)
@click.option(
    "--length-s",
    type=Length(),
    metavar="S|any",  # else in capitals, which it is not read in
    help="Length of the clips in seconds, or 'any' for a form of any length, which convolutional "
    "students and ast-tiny have. Default: that of the training clips of --calibrate; where they differ, "
    "any, or a length that holds 90 % of them.",
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
    type=CacheArgument(),
    metavar="CACHE",
    help="Real clips: to try the file on (500 held-out ones, if there are), and to calibrate int8 with. "
    "Default: the file is tried on generated clips.",
)
@click.option(
    "--clips",
    type=click.IntRange(1, MAX_CLIPS),
    help=f"Training clips that int8 is calibrated with.  [default: {CALIBRATION_CLIPS}]",
)
@click.option(
    "--page",
    type=LocalPath(),
    metavar="DIST",
    help="Add a page that runs the file in a browser, on recordings and the microphone; DIST is "
    "onnxruntime-web's folder: node_modules/onnxruntime-web/dist after npm install onnxruntime-web.",
)
def main(**options: Any) -> None:
    """Write the student of RUN for a device, and show that the file gives the same outputs.

    The folder holds the file, its device card (card.json, CARD.md), test vectors, and for a file that
    takes features the front end. What misses a bar is not written.
    """
    from student.export.export import export  # torch is kept out of --help
    from student.export.request import ExportRequest
    from student.training.determinism import prepare_torch

    prepare_torch(1)
    request = ExportRequest(**options)
    card = export(request, echo)
    latency = card["cost"]["latency"]["file"]
    echo(
        f"{request.out}: {', '.join(card['files'])}, card.json, CARD.md; {card['cost']['macs']:,} "
        f"multiply-accumulates, {latency['p50_ms']:.3g} ms of {card['cost']['of']}"
    )
    if request.page is not None:
        echo(
            f"Open http://127.0.0.1:8000 while this runs: python -m http.server --bind 127.0.0.1 "
            f"--directory {shell_word(request.out)}"
        )

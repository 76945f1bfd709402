"""``report-run``: one page that shows what runs learned."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from cache_schema.command_line.command import Command
from cache_schema.paths import PAGES, CacheArgument, LocalPath, OutputFile, OutputPath
from cache_schema.reader import open_cache
from cache_schema.report.extra import require_report
from cache_schema.store.address import CachePath
from cache_schema.terminal import echo


@click.command("report-run", cls=Command)
@click.argument("runs", nargs=-1, required=True, type=LocalPath())
@click.option(
    "--out", required=True, type=OutputFile(PAGES), metavar="FILE.html", help="Page to write."
)
@click.option(
    "--cache",
    type=CacheArgument(),
    help="The cache that they were trained on, wherever it lies now: adds classes, calibration and "
    "clips with their sound.",
)
@click.option(
    "--png",
    type=OutputPath(file_okay=False),
    metavar="FOLDER",
    help="Write each chart and clip as a picture too.",
)
def main(runs: tuple[Path, ...], out: Path, cache: CachePath | None, png: Path | None) -> None:
    """Show each RUN beside its teacher and its undistilled twin on one page.

    Give seeds, twins and other losses of a student together: they are grouped by what they learned
    from. The first distilled one is shown in detail. The page holds all that it shows and needs
    no network.
    """
    require_report("report-run")
    if png is not None:
        from cache_schema.report.pictures import check_pictures

        check_pictures(png, "report-run", out)
    # Imported here: torch and bokeh are kept out of --help.
    from student.report.blocks import blocks_of
    from student.report.report import write_report
    from student.report.run_folder import read_run_folder
    from student.training.determinism import prepare_torch

    prepare_torch(1)
    found = [read_run_folder(run) for run in runs]
    blocks = blocks_of(found, open_cache(cache) if cache is not None else None)
    written = write_report(
        blocks,
        out,
        title=_title(blocks[0].name, len(blocks)),
        command=_command(runs, cache, out, png),
        png=png,
    )
    echo(f"{written}, {len(found)} run(s)")


def _title(name: str, blocks: int) -> str:
    return f"What {name} learned" if blocks == 1 else f"What {blocks} students learned"


def _command(runs: tuple[Path, ...], cache: CachePath | None, out: Path, png: Path | None) -> str:
    words = ["report-run", *map(str, runs), *(["--cache", str(cache)] if cache else [])]
    return shlex.join([*words, *(["--png", str(png)] if png else []), "--out", str(out)])

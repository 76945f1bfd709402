"""``prepare-corpus``: get a published corpus, checked, where precompute-teacher can read it."""

from __future__ import annotations

from pathlib import Path

import click

from cache_schema.command_line.command import Command
from cache_schema.paths import LocalPath, OutputPath
from cache_schema.terminal import echo
from pipeline.prepare.archives import OFFICIAL_CORPORA


@click.command(
    "prepare-corpus",
    cls=Command,
    goes_on=True,
    epilog=f"NAME is one of {', '.join(OFFICIAL_CORPORA)}.",
)
@click.argument("name")
@click.option(
    "--out",
    type=OutputPath(file_okay=False),
    required=True,
    help="The corpus becomes OUT/NAME; its archives stay in OUT/archives/NAME.",
)
@click.option(
    "--from",
    "source",
    type=LocalPath(exists=True, file_okay=False),
    help="Download nothing: take the archives, or the unpacked corpus, from this folder.",
)
def main(name: str, out: Path, source: Path | None) -> None:
    """Fetch a published corpus, verify it, unpack it, and print the command to go on with.

    Archives are fetched from their official addresses and compared with the published checksums;
    where there are none, the digest that was found is shown. An interrupted download goes on where it
    stopped when the command is repeated. The cards in data/ describe what each corpus is and under which
    licence.
    """
    from pipeline.prepare.prepare import prepare  # kept out of --help

    prepare(name, out, source, report=echo)


if __name__ == "__main__":
    main()

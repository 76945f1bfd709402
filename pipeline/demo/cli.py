"""``aftersound-demo``: from nothing to a distilled student, offline."""

from __future__ import annotations

from pathlib import Path

import click

from cache_schema.command_line.command import Command
from cache_schema.paths import OutputPath
from cache_schema.terminal import echo
from pipeline.demo.demo import FULL, QUICK, Demo


@click.command("aftersound-demo", cls=Command, goes_on=True)
@click.option(
    "--out",
    type=OutputPath(),
    help="Folder for corpus, teacher, cache and runs. [default: aftersound-demo, or -quick]",
)
@click.option("--quick", is_flag=True, help="Same way, less of everything, one seed.")
def main(out: Path | None, quick: bool) -> None:
    """Make a spoken-keyword corpus, a teacher, a cache and students; print who wins.

    Every step is a public command and is printed. Repeating continues where it stopped.
    """
    out = out or Path("aftersound-demo-quick" if quick else "aftersound-demo")
    picture = Demo(out, QUICK if quick else FULL, echo).run()
    echo(f"\nSee where they attend: {picture}")


if __name__ == "__main__":
    main()

"""``pack-corpus``: many small audio files into a few large ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cache_schema.command_line.command import Command
from cache_schema.paths import OutputPath
from cache_schema.terminal import Terminal
from cache_schema.text import one_line, shell_word
from pipeline.corpora import read_corpus
from pipeline.corpora.walk import option_text
from pipeline.pack.pack import FORMATS, Packed, pack_corpus, plan_packing

MAX_SHOWN = 10


@click.command("pack-corpus", cls=Command, goes_on=True)
@click.argument("corpus")
@click.option(
    "--to",
    type=click.Choice(list(FORMATS)),
    required=True,
    help="hdf5-waveform: 16-bit samples, as PANNs reads them; hdf5-mp3: MP3 files, as PaSST and "
    "EfficientAT do.",
)
@click.option("--out", type=OutputPath(), required=True, help="Folder for the packs.")
@click.option(
    "--sample-rate",
    "sample_rate_hz",
    metavar="HZ",
    type=click.IntRange(1_000, 1_000_000),
    help="Rate of the packs; PANNs, PaSST and EfficientAT expect 32000.  [default: the clips' own]",
)
def main(corpus: str, to: str, out: Path, sample_rate_hz: int | None) -> None:
    """Pack CORPUS into HDF5 files, one for each split, that are read without being unpacked.

    CORPUS is KIND:PATH[?option=value&...], as for precompute-teacher. Clips that cannot be decoded
    are left out and listed in SPLIT.unusable.csv. The same command again goes on with the splits
    that are missing.
    """
    console = Terminal(soft_wrap=True)
    found = read_corpus(corpus, output=out)
    for note in found.notes:
        console.print(note)
    packing = plan_packing(found, to, out.resolve(), sample_rate_hz)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal,
    )  # fmt: skip
    totals = Counter(clip.split for clip in found.clips)
    with bar:
        tasks = {split: bar.add_task(split, total=total) for split, total in totals.items()}
        for packed in pack_corpus(packing, lambda split, clips: bar.advance(tasks[split], clips)):
            _print_pack(console, packed)
    packs = shell_word(f"hdf5:{option_text(out)}")
    console.print(f"Read them: precompute-teacher {packs} --teacher TEACHER --out CACHE")


def _print_pack(console: Terminal, packed: Packed) -> None:
    left_out = f", {len(packed.unusable)} unusable left out" if packed.unusable else ""
    loud = f", {packed.clipped} clipped at full scale" if packed.clipped else ""
    console.print(f"{packed.file.name}: {packed.clips} clips{left_out}{loud}")
    for name, reason in packed.unusable[:MAX_SHOWN]:
        console.print(f"  {one_line(name)}: {one_line(reason)}")
    if (more := len(packed.unusable) - MAX_SHOWN) > 0:
        console.print(f"  and {more} more; all of them: {packed.file.with_suffix('.unusable.csv')}")


if __name__ == "__main__":
    main()

"""``finetune-teacher``: make a teacher for a corpus' labels from a pretrained transformer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from cache_schema.command import Command


@click.command("finetune-teacher", cls=Command)
@click.argument("corpus")
@click.option("--base", required=True, metavar="FOLDER|HUB_ID", help="Pretrained model.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to make.")
@click.option(
    "--pooling",
    type=click.Choice(["first", "mean"]),
    help="What the head sees: the first frame (default) or the mean. Not for AST.",
)
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option(
    "--freeze-layers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Keep this many layers as they are, and the front end below them.",
)
@click.option(
    "--train-front-end",
    is_flag=True,
    help="Train the front end too: for a base that has heard nothing yet.",
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    default=2e-4,
    show_default=True,
    help="Peak of the one-cycle schedule.",
)
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True)
@click.option(
    "--patience",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Stop after this many epochs without a better validation score.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads of torch."
)
def main(
    corpus: str,
    base: str,
    out: Path,
    pooling: Literal["first", "mean"] | None,
    device: str,
    threads: int,
    **recipe: Any,
) -> None:
    """Fine-tune a pretrained audio transformer on the labels of CORPUS.

    CORPUS is KIND:PATH[?option=value&...] as for precompute-teacher, with the splits train and
    validation. The result is an ordinary Hugging Face folder with a model card and training.json.
    A killed run continues at its last whole epoch when the command is repeated.
    """
    import torch  # kept out of --help

    from pipeline.corpora import read_corpus
    from pipeline.finetune import finetune
    from pipeline.finetune_training import Recipe

    torch.set_num_threads(threads)
    finetune(
        read_corpus(corpus),
        base,
        out,
        recipe=Recipe(**recipe),
        pooling=pooling,
        device=device,
        report=click.echo,
    )

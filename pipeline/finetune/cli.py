"""``finetune-teacher``: make a teacher for a corpus' labels from a pretrained model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import click

from cache_schema.command_line.command import Command, Number
from cache_schema.command_line.parameters import PluginText
from cache_schema.devices import check_device
from cache_schema.limits import (
    MAX_ALPHA,
    MAX_BATCH,
    MAX_EPOCHS,
    MAX_LEARNING_RATE,
    MAX_PROCESSES,
    MAX_SEED,
)
from cache_schema.paths import OutputPath
from cache_schema.terminal import echo
from pipeline.corpora.argument import corpora_argument
from pipeline.corpora.joined import read_corpora
from pipeline.corpus_summary import corpus_summary
from pipeline.views import VIEWS

MAX_LAYERS = 10_000
MAX_SNR_DB = 200.0


@click.command("finetune-teacher", cls=Command, goes_on=True)
@corpora_argument
@click.option("--base", required=True, metavar="FOLDER|HUB_ID", help="Pretrained model.")
@click.option(
    "--out", type=OutputPath(own="teacher", moved_there=True), required=True, help="Folder to make."
)
@click.option(
    "--pooling",
    type=click.Choice(["first", "mean", "attention"]),
    help="What the head sees. Transformers: first frame (default) or mean; EfficientNet: mean "
    "(default) or attention; AST has its own.",
)
@click.option("--epochs", type=click.IntRange(1, MAX_EPOCHS), default=10, show_default=True)
@click.option(
    "--freeze-layers",
    type=click.IntRange(0, MAX_LAYERS),
    default=0,
    show_default=True,
    help="Keep this many layers as they are, from the lowest.",
)
@click.option(
    "--train-front-end",
    is_flag=True,
    help="Train the front end too, which is kept as it is otherwise: for a base with random weights.",
)
@click.option(
    "--learning-rate",
    type=Number(0, MAX_LEARNING_RATE, min_open=True),
    default=2e-4,
    show_default=True,
    help="Peak of the one-cycle schedule.",
)
@click.option(
    "--layer-decay",
    type=Number(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Each layer learns at this share of the rate above it; 0.75 is usual, 1 is off.",
)
@click.option("--batch-size", type=click.IntRange(1, MAX_BATCH), default=16, show_default=True)
@click.option(
    "--accumulate",
    type=click.IntRange(1, MAX_BATCH),
    default=1,
    show_default=True,
    help="Batches whose gradients make one step.",
)
@click.option(
    "--balanced", is_flag=True, help="Draw clips of rare classes as often as of frequent ones."
)
@click.option("--spec-augment", is_flag=True, help="Hide stretches of time and bands.")
@click.option(
    "--mixup",
    type=Number(0, MAX_ALPHA),
    default=0.0,
    show_default=True,
    metavar="ALPHA",
    help="Mix half of the clips with others, by Beta(ALPHA, ALPHA); 10 is usual, 0 is off.",
)
@click.option(
    "--noise-snr-db",
    type=(Number(-MAX_SNR_DB, MAX_SNR_DB), Number(-MAX_SNR_DB, MAX_SNR_DB)),
    metavar="LOW HIGH",
    help="Add white noise at a ratio drawn between these.",
)
@click.option(
    "--view",
    "view_steps",
    multiple=True,
    type=PluginText(VIEWS, "view"),
    metavar="NAME[:option=value,...]",
    help="Step of a view recipe, as of precompute-teacher: another view of each clip every epoch.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "32-true", "bf16-mixed", "16-mixed"]),
    default="32-true",
    show_default=True,
    help="auto: bf16-mixed on a GPU that has it.",
)
@click.option(
    "--patience",
    type=click.IntRange(1, MAX_EPOCHS),
    default=3,
    show_default=True,
    help="Stop after this many epochs without a better validation score.",
)
@click.option(
    "--finish",
    is_flag=True,
    help="Train no further: make the teacher of the best epoch so far, of a run that was stopped.",
)
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option(
    "--threads",
    type=click.IntRange(1, MAX_PROCESSES),
    default=1,
    show_default=True,
    help="CPU threads of torch.",
)
def main(
    corpora: tuple[str, ...],
    base: str,
    out: Path,
    pooling: Literal["first", "mean", "attention"] | None,
    device: str,
    threads: int,
    finish: bool,
    view_steps: tuple[str, ...],
    **recipe: Any,
) -> None:
    """Fine-tune a pretrained audio model on the labels of CORPUS.

    CORPUS is KIND:PATH[?option=value&...] as for precompute-teacher, with the splits train and
    validation. The result is an ordinary Hugging Face folder with a model card and training.json.
    A killed run continues at its last whole epoch when the command is repeated.
    """
    if device != "cpu":
        import torch  # seconds that neither --help nor a refusal need take

        check_device(device, torch)
    opened = read_corpora(corpora, output=out)
    for line in corpus_summary(opened, corpora[0].partition(":")[0]):
        echo(line)
    import torch  # as above

    from pipeline.finetune.finetune import finetune
    from pipeline.finetune.recipe import FineTuneRecipe

    torch.set_num_threads(threads)
    finetune(
        replace(opened, view_steps=(*opened.view_steps, *view_steps)),
        base,
        out,
        recipe=FineTuneRecipe(**recipe),
        pooling=pooling,
        device=device,
        finish=finish,
        report=echo,
    )

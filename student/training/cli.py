"""``train-student``: train a tiny student from a cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from cache_schema.command_line.command import Command, Number
from cache_schema.command_line.parameters import PluginText
from cache_schema.devices import check_device
from cache_schema.errors import UsageError
from cache_schema.limits import (
    MAX_ALPHA,
    MAX_BATCH,
    MAX_EPOCHS,
    MAX_LEARNING_RATE,
    MAX_PROCESSES,
    MAX_SEED,
    MAX_WEIGHT,
)
from cache_schema.paths import CacheArgument, LocalPath, OutputPath
from cache_schema.plugins import parse_named_options, plugin_names
from cache_schema.reader import Cache, open_cache
from cache_schema.store.address import CachePath
from cache_schema.terminal import echo
from cache_schema.text import shell_word
from student.losses import LOSSES
from student.metrics import METRICS
from student.models import STUDENTS
from student.recipes import (
    RECIPES,
    Average,
    Cosine,
    Exponential,
    Recipe,
    Schedule,
    SpecAugment,
)
from student.runs.settings import (
    Settings,
    find_recipe,
    parse_distillation,
    parse_student,
    resolve_label_weight,
)
from student.stream.class_map import read_class_map
from student.training.loggers import ALWAYS, LOGGERS


@click.command("train-student", cls=Command, goes_on=True)
@click.argument("cache", type=CacheArgument())
@click.option(
    "--student",
    required=True,
    type=PluginText(STUDENTS, "student"),
    metavar="NAME[:option=value,...]",
    help=f"One of: {', '.join(plugin_names(STUDENTS, 'student'))}.",
)
@click.option("--out", type=OutputPath(own="run"), help="Folder of the run; --plan needs none.")
@click.option(
    "--distill",
    multiple=True,
    type=PluginText(LOSSES, "loss"),
    metavar="NAME=WEIGHT[:option=value,...]",
    help=f"A distillation loss, repeatable: {', '.join(plugin_names(LOSSES, 'loss'))}.",
)
@click.option(
    "--label-weight",
    type=Number(0, MAX_WEIGHT),
    help="Weight of the label loss. Default: what the weights of --distill leave of 1.",
)
@click.option(
    "--class-map",
    type=LocalPath(exists=True, dir_okay=False),
    help="TOML file of lines CLASS = TEACHER CLASS (or a list), where the teacher's classes differ.",
)
@click.option(
    "--recipe",
    metavar="NAME",
    help=f"Optimiser, schedule, length and augmentation: {', '.join(RECIPES)}. Default: the student's "
    "own. The options below change it.",
)
@click.option("--epochs", type=click.IntRange(1, MAX_EPOCHS), help="Default: the recipe's.")
@click.option("--batch-size", type=click.IntRange(1, MAX_BATCH), help="Default: the recipe's.")
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True)
@click.option(
    "--learning-rate",
    type=Number(0, MAX_LEARNING_RATE, min_open=True),
    help="The highest rate. Default: the recipe's.",
)
@click.option(
    "--schedule",
    metavar="exponential:last=S|cosine[:floor=S]",
    help="Fall of the rate, to a share S of the highest at the end. Default: the recipe's.",
)
@click.option(
    "--spec-augment/--no-spec-augment",
    default=None,
    help="Hide stretches of time and bands. Default: the recipe's.",
)
@click.option(
    "--mixup",
    type=Number(0, MAX_ALPHA),
    metavar="ALPHA",
    help="Mix features and targets of two clips; 0 is off. Default: the recipe's.",
)
@click.option(
    "--average",
    metavar="ema:decay=D|last:share=S|none",
    help="Keep averaged weights. Default: the recipe's.",
)
@click.option(
    "--metric",
    type=click.Choice(plugin_names(METRICS, "metric")),
    help="What picks the best epoch. Default: accuracy, or macro mAP in a multi-label task.",
)
@click.option(
    "--labelled-share",
    type=Number(0, 1, min_open=True, max_open=True),
    metavar="S",
    help="Where few clips are labelled: repeat them until they are this share of an epoch.",
)
@click.option(
    "--unlabelled",
    type=click.IntRange(min=0),
    metavar="CLIPS",
    help="Learn from so many of the unlabelled clips alone; fewer are a part of more. Default: all.",
)
@click.option(
    "--lanes",
    type=click.IntRange(1, MAX_PROCESSES),
    default=1,
    show_default=True,
    metavar="N",
    help="Learn from N batches in each step; under torchrun they are divided among its processes.",
)
@click.option(
    "--patience",
    type=click.IntRange(1, MAX_EPOCHS),
    help="End after so many epochs without a better validation score. Default: train all epochs.",
)
@click.option(
    "--validate-every",
    type=click.IntRange(1, MAX_EPOCHS),
    default=1,
    show_default=True,
    metavar="EPOCHS",
    help="Epochs from one validation to the next; the last one is always validated.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
)
@click.option(
    "--precision",
    type=click.Choice(["32-true", "bf16-mixed"]),
    default="32-true",
    show_default=True,
)
@click.option(
    "--threads",
    type=click.IntRange(1, MAX_PROCESSES),
    default=1,
    show_default=True,
    help="CPU threads; such small models are slower with more.",
)
@click.option(
    "--logger",
    "loggers",
    multiple=True,
    type=click.Choice([name for name in LOGGERS if name != ALWAYS]),
    help="Where curves go beside metrics.jsonl and TensorBoard's file, repeatable.",
)
@click.option("--plan", is_flag=True, help="Measure and show the cost, write nothing.")
def main(
    cache: CachePath,
    out: Path | None,
    device: str,
    threads: int,
    loggers: tuple[str, ...],
    plan: bool,
    **options: Any,
) -> None:
    """Train a student from CACHE; the same command again continues after a kill."""
    if out is None and not plan:
        raise click.UsageError("Missing option '--out'.")
    opened = open_cache(cache)
    # Imported here: seconds that neither --help nor a refusal need take.
    from student.training.determinism import prepare_torch

    check_training_device(device)
    prepare_torch(threads)
    settings = resolve(options)
    if out is None or plan:
        show_plan(opened, settings, out)
    else:
        train_and_report(opened, out, device, settings, loggers)


def show_plan(cache: Cache, settings: Settings, out: Path | None) -> None:
    """Print what the training would take, or reject what it would reject."""
    from student.training.cost import training_plan
    from student.training.train import check_out, check_trainable

    check_trainable(cache, settings)
    if out is not None:
        check_out(out, settings, cache)
    for line in training_plan(cache, settings):
        echo(line)


def check_training_device(device: str) -> None:
    """Reject a device that this machine has not; ``auto`` takes what there is."""
    if device != "auto":
        import torch  # kept out of --help

        check_device(device, torch)


def resolve(options: dict[str, Any]) -> Settings:
    """Turn the command line's options into settings."""
    distill = tuple(parse_distillation(text) for text in options["distill"])
    student, student_options = parse_student(options["student"])
    recipe = changed_recipe(find_recipe(options["recipe"], student), options)
    return Settings(
        student=student,
        student_options=student_options,
        distill=distill,
        label_weight=resolve_label_weight(distill, options["label_weight"]),
        seed=options["seed"],
        recipe=recipe,
        metric=options["metric"],
        class_map=read_class_map(options["class_map"]) if options["class_map"] else None,
        precision=options["precision"],
        patience=options["patience"],
        validate_every=options["validate_every"],
        labelled_share=options["labelled_share"],
        unlabelled=options["unlabelled"],
        lanes=options["lanes"],
    )


def changed_recipe(recipe: Recipe, options: dict[str, Any]) -> Recipe:
    """Change in a recipe what the command line gives."""
    names = ("epochs", "batch_size", "learning_rate")
    recipe = replace(recipe, **{name: options[name] for name in names if options[name] is not None})
    if options["schedule"] is not None:
        recipe = replace(recipe, schedule=parse_schedule(options["schedule"]))
    if options["spec_augment"] is not None:
        masks = (recipe.spec_augment or SpecAugment()) if options["spec_augment"] else None
        recipe = replace(recipe, spec_augment=masks)
    if options["mixup"] is not None:
        recipe = replace(recipe, mixup=options["mixup"] or None)
    if options["average"] is not None:
        recipe = replace(recipe, average=parse_average(options["average"]))
    return recipe


def parse_schedule(text: str) -> Schedule:
    """Read ``exponential:last=0.02``, ``cosine`` or ``cosine:floor=0.01``.

    Raises
    ------
    UsageError
        For anything else.
    """
    kind, options = _named("--schedule", text)
    shares: dict[str, str | None] = {"exponential": options.get("last"), "cosine": "0"}
    try:
        share = float(options.get("floor", shares[kind]) or "nan")
    except (KeyError, ValueError):
        share = float("nan")
    known = {"last"} if kind == "exponential" else {"floor"}
    if not 0 <= share <= 1 or not options.keys() <= known or (kind, share) == ("exponential", 0):
        raise UsageError(
            f"--schedule {text}: expected exponential:last=S with a share above 0, or cosine:floor=S "
            "with one from 0, at most 1. For example: --schedule cosine:floor=0.01",
            kind="options",
        )
    return Exponential(share) if kind == "exponential" else Cosine(share)


def _named(option: str, text: str) -> tuple[str, dict[str, str]]:
    try:
        return parse_named_options(text)
    except UsageError as error:
        raise UsageError(f"{option} {error}", kind="options") from None


def parse_average(text: str) -> Average | None:
    """Read ``ema:decay=0.999``, ``last:share=0.5`` or ``none``.

    Raises
    ------
    UsageError
        For anything else.
    """
    if text == "none":
        return None
    kind, options = _named("--average", text)
    amounts: dict[Any, str] = {"ema": "decay", "last": "share"}
    try:
        amount = float(options[amounts[kind]])
    except (KeyError, ValueError):
        amount = float("nan")
    if not 0 < amount <= 1 or len(options) > 1 or (kind, amount) == ("ema", 1):
        raise UsageError(
            f"--average {text}: expected ema:decay=D with a number above 0 and below 1, last:share=S "
            "with one above 0, at most 1, or none. For example: --average ema:decay=0.999",
            kind="options",
        )
    return Average("ema" if kind == "ema" else "last", amount)


def train_and_report(
    cache: Cache, out: Path, device: str, settings: Settings, loggers: tuple[str, ...]
) -> None:
    """Train; the last lines have the run, its score and the teacher's, and what looks closer."""
    from student.training.processes import Processes  # kept out of --help
    from student.training.train import TEST, train

    result = train(cache, settings, out, device=device, log=echo, loggers=loggers)
    if not Processes.of_torchrun().writes:
        return
    scores = [
        f"{split} {result['metric']} {score_text(entry['score'])} "
        f"(teacher {score_text(entry['teacher_score'])})"
        for split, entry in result["splits"].items()
    ]
    echo(f"{out}: {', '.join(scores) or 'no held-out split to score'}")
    split = (
        ""
        if TEST in result["splits"]
        else f" --split {shell_word(next(iter(result['splits']), 'train'))}"
    )
    echo(f"Next: evaluate-student {shell_word(out)} {shell_word(cache.root)} --report{split}")


def score_text(value: float | str | None) -> str:
    """Write a score of a result."""
    return "no score" if value is None else f"{float(value):.4f}"

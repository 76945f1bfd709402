"""``train-student``: train a tiny student from a cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cache_schema.command import Command
from cache_schema.reader import open_cache
from student.losses import LOSSES
from student.models import STUDENTS
from student.repeatable import prepare_torch
from student.settings import Settings, parse_distillation, resolve_label_weight, student_class
from student.train import train


@click.command("train-student", cls=Command)
@click.argument("cache", type=click.Path(path_type=Path))
@click.option("--student", required=True, metavar="NAME", help=f"One of: {', '.join(STUDENTS)}.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option(
    "--distill",
    multiple=True,
    metavar="NAME=WEIGHT[:option=value,...]",
    help=f"A distillation loss, repeatable: {', '.join(LOSSES)}.",
)
@click.option(
    "--label-weight",
    type=click.FloatRange(min=0),
    help="Weight of the label loss. Default: what the weights of --distill leave of 1.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=30, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Of the first step. Default: the student's.",
)
@click.option(
    "--spec-augment/--no-spec-augment",
    default=False,
    show_default=True,
    help="Hide stretches of time and bands.",
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
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="CPU threads; such small models are slower with more.",
)
def main(cache: Path, out: Path, device: str, threads: int, **options: Any) -> None:
    """Train a student from CACHE; the same command again continues after a kill."""
    prepare_torch(threads)
    train_and_tell(cache, out, device, resolve(options))


def resolve(options: dict[str, Any]) -> Settings:
    """Turn the command line's options into settings."""
    distill = tuple(parse_distillation(text) for text in options["distill"])
    recipe = student_class(options["student"]).recipe
    return Settings(
        student=options["student"],
        distill=distill,
        label_weight=resolve_label_weight(distill, options["label_weight"]),
        epochs=options["epochs"],
        batch_size=options["batch_size"],
        seed=options["seed"],
        learning_rate=options["learning_rate"] or recipe.learning_rate,
        spec_augment=options["spec_augment"],
        precision=options["precision"],
    )


def train_and_tell(cache: Path, out: Path, device: str, settings: Settings) -> None:
    """Train; the last line has the run, its score and the teacher's."""
    result = train(open_cache(cache), settings, out, device=device, say=click.echo)
    told = [
        f"{split} {result['metric']} {_number(entry['score'])} "
        f"(teacher {_number(entry['teacher_score'])})"
        for split, entry in result["splits"].items()
    ]
    click.echo(f"{out}: {', '.join(told) or 'no held-out split to score'}")


def _number(value: float | None) -> str:
    return "not cached" if value is None else f"{value:.4f}"

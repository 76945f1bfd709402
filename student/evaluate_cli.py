"""``evaluate-student``: score a run, or draw where it listens."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cache_schema.command import Command
from cache_schema.errors import UsageError
from cache_schema.reader import Cache, open_cache
from student.evaluate import clip_curves, evaluate_run, read_config
from student.metrics import teacher_score
from student.repeatable import prepare_torch


@click.command("evaluate-student", cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("cache", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True, metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--plot", type=click.Path(path_type=Path), help="PNG of where teacher and student listen."
)
@click.option("--clip", metavar="ID", help="The clip to draw.")
@click.option("--beside", type=click.Path(path_type=Path), help="Another run to draw with it.")
@click.option(
    "--mark-s", type=float, nargs=2, help="Start and end of a stretch to mark, in seconds."
)
def main(
    run: Path,
    cache: Path,
    split: str,
    as_json: bool,
    plot: Path | None,
    clip: str | None,
    beside: Path | None,
    mark_s: tuple[float, float] | None,
) -> None:
    """Score the best weights of RUN on a split of CACHE."""
    prepare_torch(1)
    if plot is None and (clip or beside or mark_s):
        raise UsageError("--clip, --beside and --mark-s belong to --plot FILE.png", kind="options")
    opened = open_cache(cache)
    if plot is None:
        tell_score(run, opened, split, as_json)
    elif clip is None:
        raise UsageError("--plot needs --clip ID", kind="options")
    else:
        draw([run, *([beside] if beside else [])], opened, split, clip, mark_s, plot)


def tell_score(run: Path, cache: Cache, split: str, as_json: bool) -> None:
    """Print a run's score on a split, and the teacher's."""
    found = evaluate_run(run, read_config(run), cache, split)
    teacher = teacher_score(cache, split)
    if not as_json:
        beside = f"; teacher {teacher.value:.4f}" if teacher else ""
        click.echo(f"{run} on {split}: {found}{beside}")
        return
    document = {
        "run": str(run),
        "split": split,
        "metric": found.metric,
        "score": found.value if found.clips else None,
        "teacher_score": teacher.value if teacher and teacher.clips else None,
        "clips": found.clips,
        "left_out": list(found.left_out),
    }
    click.echo(json.dumps(document))


def draw(
    runs: list[Path],
    cache: Cache,
    split: str,
    clip: str,
    mark_s: tuple[float, float] | None,
    file: Path,
) -> None:
    """Draw where the teacher and the students of runs listen in one clip."""
    from cache_schema.plot import plot_attentions

    samples_S, curves = clip_curves(runs, cache, split, clip)
    file.parent.mkdir(parents=True, exist_ok=True)
    plot_attentions(clip, samples_S, cache.sample_rate_hz, curves, mark_s, file)
    click.echo(f"{file}: {clip}, {', '.join(curves)}")

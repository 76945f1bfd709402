"""``evaluate-student``: score a run, or draw where it attends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cache_schema.cautions import few_clips, near_chance
from cache_schema.command_line.command import Command, Number
from cache_schema.command_line.parameters import complete_clip_ids
from cache_schema.errors import UsageError
from cache_schema.paths import PICTURES, CacheArgument, LocalPath, OutputFile
from cache_schema.reader import Cache, open_cache
from cache_schema.store.address import CachePath
from cache_schema.terminal import echo, wide_terminal
from cache_schema.text import json_text, one_line
from student.metrics import Score, load_metric, measure
from student.runs.settings import first_teacher, student_class

MAX_TIME_S = 1e6
PREDICTIONS = {".csv": rb"^clip,label,student", ".parquet": rb"clip.{1,99}label.{1,99}student"}
CHOSEN_CLIPS = 3


@click.command("evaluate-student", cls=Command)
@click.argument("run", type=LocalPath())
@click.argument("cache", type=CacheArgument())
@click.option("--split", default="test", show_default=True, metavar="NAME")
@click.option("--report", is_flag=True, help="Print all metrics, every class, and confusions.")
@click.option("--json", "as_json", is_flag=True, help="Print all of that as one JSON object.")
@click.option(
    "--predictions",
    type=OutputFile(PREDICTIONS),
    metavar="FILE.csv|FILE.parquet",
    help="Write what student and teacher predict for each clip.",
)
@click.option(
    "--plot",
    type=OutputFile(PICTURES),
    metavar="FILE.png",
    help="Picture of where teacher and student attend.",
)
@click.option(
    "--clip",
    "clips",
    multiple=True,
    metavar="ID",
    shell_complete=complete_clip_ids,
    help="A clip to draw, repeatable: side by side. Default: those it is most wrong on.",
)
@click.option(
    "--beside",
    multiple=True,
    type=LocalPath(),
    help="Another run to draw with it, repeatable.",
)
@click.option(
    "--mark-s",
    type=Number(0, MAX_TIME_S),
    nargs=2,
    help="Start and end of a stretch to mark, in seconds. Default: the clip itself, where a view "
    "surrounds it with more.",
)
def main(
    run: Path,
    cache: CachePath,
    split: str,
    report: bool,
    as_json: bool,
    predictions: Path | None,
    plot: Path | None,
    clips: tuple[str, ...],
    beside: tuple[Path, ...],
    mark_s: tuple[float, float] | None,
) -> None:
    """Score the best weights of RUN on a split of CACHE."""
    if plot is None and (clips or beside or mark_s):
        raise UsageError("--clip, --beside and --mark-s belong to --plot FILE.png", kind="options")
    if sum([report, as_json, predictions is not None, plot is not None]) > 1:
        raise UsageError("give one of --report, --json, --predictions and --plot", kind="options")
    if mark_s is not None and len(clips) != 1:
        raise UsageError(
            f"--mark-s is a stretch of one clip, got {len(clips)}: "
            f"{', '.join(clips) or 'add --clip ID'}",
            kind="options",
        )
    if mark_s is not None and not mark_s[0] < mark_s[1]:
        raise UsageError(
            "--mark-s {} {}: the stretch ends where it begins or before".format(*mark_s),
            kind="options",
        )
    opened = open_cache(cache)
    # Imported here: seconds that neither --help nor a refusal need take.
    from student.training.determinism import prepare_torch

    prepare_torch(1)
    if predictions is not None:
        from student.evaluation.predictions import write_predictions

        echo(
            f"{predictions}: {write_predictions(run, opened, split, predictions)} clips of {split}"
        )
    elif plot is None:
        print_score(run, opened, split, report=report, as_json=as_json)
    else:
        draw(
            [run, *beside], opened, split, clips or telling_clips(run, opened, split), mark_s, plot
        )


def print_score(run: Path, cache: Cache, split: str, *, report: bool, as_json: bool) -> None:
    """Print a run's score on a split and the teacher's, or everything known of them."""
    from student.evaluation.attention_mass import attention_mass
    from student.evaluation.report import group_document, group_line, score_document, score_tables
    from student.metrics.chance import chance_level
    from student.metrics.per_group import groups_of, per_group
    from student.metrics.teacher import teacher_predictions
    from student.runs.checkpoint import named_in
    from student.runs.predict import read_config, run_predictions
    from student.runs.run_config import CONFIG

    config = read_config(run)
    with named_in(run / CONFIG):
        student_class(config["student"])
        if config["metric"]:
            load_metric(config["metric"])
    student = run_predictions(run, config, cache, split)
    teacher = teacher_predictions(
        cache, split, config["class_map"], first_teacher(config["distill"])
    )
    found = measure(student, config["metric"])
    teacher_score = measure(teacher, config["metric"]) if teacher else None
    chance = chance_level(student.labels_NC, found.metric)
    groups = per_group(student, groups_of(cache, student), found.metric)
    mass = attention_mass(run, cache, split)
    if as_json:
        document = _document(run, split, found, teacher_score) | score_document(student, teacher)
        document |= {"chance": chance, "per_group": group_document(groups)}
        document["attention_mass"] = mass
        echo(json_text(document))
        return
    by_chance = "" if chance is None else f"; by chance {chance:.4f}"
    echo(f"{run} on {split}: {found}{_teacher_suffix(teacher_score)}{by_chance}")
    if mass is not None:
        echo(_mass_line(mass))
    if groups:
        echo(group_line(groups))
    if report and found.clips:
        echo()
        wide_terminal().print(score_tables(student, teacher, groups))
    near = near_chance(found.value, chance, found.metric, "the student") if found.clips else []
    for warning in [*few_clips(found.clips, split), *near]:
        echo(f"warning: {warning}")


def _teacher_suffix(teacher_score: Score | None) -> str:
    if teacher_score is None or not teacher_score.defined:
        return ""
    remarks = f" ({'; '.join(teacher_score.remarks)})" if teacher_score.uncovered else ""
    return f"; teacher {teacher_score.value:.4f}{remarks}"


def _mass_line(mass: dict[str, Any]) -> str:
    teacher = "not cached" if mass["teacher"] is None else f"{mass['teacher']:.1%}"
    return (
        f"attention inside the clip: {mass['student']:.1%}; teacher {teacher}; by chance "
        f"{mass['chance']:.1%} ({mass['clips']} clips)"
    )


def _document(run: Path, split: str, found: Score, teacher_score: Score | None) -> dict[str, Any]:
    return {
        "run": str(run),
        "split": split,
        "metric": found.metric,
        "score": found.json_value,
        "teacher_score": teacher_score.json_value if teacher_score else None,
        "clips": found.clips,
        "left_out": list(found.left_out),
    }


def telling_clips(run: Path, cache: Cache, split: str) -> list[str]:
    """Ids of the clips that a run is most wrong on; the first one's where it is always right."""
    from student.evaluation.chosen_clips import most_wrong
    from student.runs.predict import read_config, run_predictions

    predictions = run_predictions(run, read_config(run), cache, split)
    if predictions.clips_N is None or not len(predictions.clips_N):
        raise UsageError(
            f"no clip of {split} is labelled, so none is chosen; name one: --clip ID",
            kind="options",
        )
    rows = most_wrong(predictions, CHOSEN_CLIPS) or [0]
    return [cache.clip_ids(place, place + 1)[0] for place in predictions.clips_N[rows].tolist()]


def draw(
    runs: list[Path],
    cache: Cache,
    split: str,
    clips: Sequence[str],
    mark_s: tuple[float, float] | None,
    file: Path,
) -> None:
    """Draw where the teacher and the students of runs attend in some clips."""
    from cache_schema.inspection.plot import ClipPanel, plot_attentions
    from student.evaluation.attention_curves import clip_curves

    found = clip_curves(runs, cache, split, clips)
    length_s = len(found[0].samples_S) / cache.sample_rate_hz
    if mark_s is not None and mark_s[0] >= length_s:
        raise UsageError(
            f"--mark-s {mark_s[0]:g} {mark_s[1]:g} lies behind clip {found[0].clip_id!r} of "
            f"{length_s:g} s; name a stretch within it",
            kind="options",
        )
    name = "clip" if mark_s is None else "keyword"
    columns = [
        ClipPanel(one.title, one.samples_S, one.curves, mark_s or one.place_s, name)
        for one in found
    ]
    plot_attentions(columns, cache.sample_rate_hz, file)
    echo(f"{file}: {', '.join(map(one_line, clips))}; {', '.join(found[0].curves)}")

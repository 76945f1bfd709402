"""Put a report together: for each block of runs the result, then what explains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache_schema.cautions import near_chance
from cache_schema.inspection.cache_cautions import corpus_cautions, teacher_cautions
from cache_schema.inspection.repeated import repeated_cautions
from cache_schema.inspection.summary import human_bytes
from cache_schema.reader import Cache
from cache_schema.report.charts.base import Chart
from cache_schema.report.page import write_page
from cache_schema.report.pictures import Draw, write_pictures
from student.compare.row_cautions import row_cautions
from student.compare.statistics import mean
from student.metrics.chance import chance_level
from student.metrics.interface import Predictions
from student.metrics.teacher import teacher_predictions
from student.report.blocks import Block
from student.report.cache_facts import cache_facts
from student.report.classes import calibration_words, class_charts, class_score, class_table
from student.report.clips import clip_groups
from student.report.costs import cost_rows
from student.report.curves import curve_charts
from student.report.groups import group_chart, group_scores, group_table, group_words
from student.report.labels import label_charts, label_rows, label_table
from student.report.result import cards, chance_words, result_charts, result_table, sentences
from student.report.run_folder import RunFolder
from student.report.settings_text import train_command
from student.runs.predict import run_predictions
from student.runs.settings import Distillation, first_teacher, flat_settings
from student.training.loop import VALIDATION

PACKAGE = "student.report"
CLIPS = 6  # of each group, in a report of one block
FEWEST_CLIPS = 2


@dataclass
class Report:
    """A report under way: what its template gets, and its charts and drawn clips by name."""

    title: str
    command: str
    warnings: list[str]
    sections: list[dict[str, Any]] = field(default_factory=list)
    charts: dict[str, Chart] = field(default_factory=dict)
    clips: dict[str, Draw] = field(default_factory=dict)

    def add(self, prefix: str, charts: dict[str, Chart]) -> dict[str, str]:
        """Take charts up; gives their names on the page by their own."""
        self.charts |= {f"{prefix}{name}": chart for name, chart in charts.items()}
        return {name: f"{prefix}{name}" for name in charts}


def write_report(
    blocks: Sequence[Block], out: Path, *, title: str, command: str, png: Path | None = None
) -> str:
    """Write the report of some blocks; gives what was written, in words.

    Parameters
    ----------
    blocks : sequence of Block
        At least one.
    out : Path
        HTML file.
    title, command : str
        Its heading, and what makes it again.
    png : Path or None
        Folder for each chart and clip as a picture; see `cache_schema.report.pictures.check_pictures`.
    """
    report = Report(title, command, _warnings(blocks))
    most = max(FEWEST_CLIPS, CLIPS // len(blocks))
    for number, block in enumerate(blocks, 1):
        prefix = f"{number}_" if len(blocks) > 1 else ""
        report.sections.append(_section(report, block, prefix, most))
    content = {
        "title": report.title,
        "command": report.command,
        "warnings": report.warnings,
        "sections": report.sections,
    }
    drawn = ""
    if png is not None:
        drawn = f"; {write_pictures(png, report.charts, report.clips)} pictures in {png}"
    size = write_page(out, "runs.html", content, report.charts, package=PACKAGE)
    return f"{out}: {human_bytes(size)}{drawn}"


def _warnings(blocks: Sequence[Block]) -> list[str]:
    """What makes the figures of blocks doubtful, each thing once."""
    found = row_cautions([row for block in blocks for row in block.rows])
    caches = {block.cache.root: block.cache for block in blocks if block.cache is not None}
    learned = _learned_signals([run for b in blocks for own in b.runs.values() for run in own])
    for cache in caches.values():
        own = (*corpus_cautions(cache), *repeated_cautions(cache))
        found += [f"{cache.root.name}: {line}" for line in own]
        for name in cache.teachers:
            judged = teacher_cautions(cache, name, signals=learned)
            found += [f"{cache.root.name}: {line}" for line in judged]
    return list(dict.fromkeys(found))


def _learned_signals(runs: Sequence[RunFolder]) -> set[str]:
    """Signals that runs' losses take as they are; sharpened attention is what a warning would advise."""
    return {
        signal
        for run in runs
        for entry in run.config["distill"]
        if "sharpen" not in entry["options"]
        for signal in Distillation(**entry).signals
    }


def _section(report: Report, block: Block, prefix: str, most: int) -> dict[str, Any]:
    """Everything of a block, as the template has it."""
    charts = result_charts(block) | curve_charts(block)
    section: dict[str, Any] = {
        "name": block.name,
        "split": block.split,
        "shown": f"learned from {block.learned}, seed {block.shown.seed}",
        "twin": f"seed {block.twin.seed}" if block.twin else "",
        "cards": cards(block),
        "sentences": sentences(block),
        "table": result_table(block),
        "costs": cost_rows(block.shown, block.cache),
        "settings": _settings(block.shown),
        "train_command": train_command(
            block.shown.config, str(block.cache.root) if block.cache else "CACHE", block.shown.path
        ),
        "cache": "" if block.cache is None else cache_facts(block.cache, block.split),
        "classes": None,
        "labels": None,
        "by_group": None,
        "clip_groups": [],
    }
    if block.cache is not None and block.split in block.cache.splits:
        found = answers_of(block, block.cache)
        if len(next(iter(found.values())).labels_NC):
            charts |= _explain(section, block, block.cache, found)
            near = _near_chance(block, next(iter(found.values())))
            report.warnings += [line for line in near if line not in report.warnings]
            groups, drawn, pictures = clip_groups(block, block.cache, found, prefix, most)
            section["clip_groups"] = groups
            report.charts |= drawn
            report.clips |= pictures
    section["charts"] = report.add(prefix, charts)
    return section


def _near_chance(block: Block, shown: Predictions) -> list[str]:
    metric, scores = block.row.metric, block.row.found
    if block.row.chance is not None:
        return []  # a comparison's rows say it themselves
    chance = chance_level(shown.labels_NC, metric)
    return near_chance(mean(scores), chance, metric, block.name) if scores else []


def _explain(
    section: dict[str, Any], block: Block, cache: Cache, found: dict[str, Predictions]
) -> dict[str, Chart]:
    """Add what the split's clips say: chance, classes, groups, calibration; gives the charts."""
    metric, charts = block.row.metric, class_charts(found)
    section["sentences"] += chance_words(found, metric)
    section["classes"] = class_table(found) | {"score": class_score(cache.task).words}
    section["calibration"] = calibration_words(found)
    if cache.task == "multi":
        apart = VALIDATION in cache.splits and block.split != VALIDATION
        validation = _shown_predictions(block.shown, cache, VALIDATION) if apart else None
        rows = label_rows(next(iter(found.values())), validation)
        charts |= label_charts(rows)
        section["labels"] = label_table(rows)
    if scores := group_scores(found, cache, metric):
        charts["by_group"] = group_chart(scores, metric)
        section["by_group"] = group_table(scores, metric) | {"words": group_words(scores)}
    return charts


def answers_of(block: Block, cache: Cache) -> dict[str, Predictions]:
    """What each model predictions for the split: the student in detail first, its twin, the teacher."""
    config = block.shown.config
    name = "distilled" if block.shown.distilled else "undistilled"
    found = {name: _shown_predictions(block.shown, cache, block.split)}
    if block.twin is not None:
        found["undistilled"] = _shown_predictions(block.twin, cache, block.split)
    teacher = teacher_predictions(
        cache, block.split, config["class_map"], first_teacher(config["distill"])
    )
    return found if teacher is None or not len(teacher.labels_NC) else {**found, "teacher": teacher}


def _shown_predictions(run: RunFolder, cache: Cache, split: str) -> Predictions:
    return run_predictions(run.path, run.config, cache, split)


def _settings(run: RunFolder) -> list[list[str]]:
    hidden = ("classes",)
    shown = {key: value for key, value in run.config.items() if key not in hidden}
    rows = [[key, str(value)] for key, value in flat_settings(shown).items()]
    best = ["best epoch by validation", f"{run.result['best_epoch']} of {run.result['epochs']}"]
    return [best, *rows]

"""Single clips of a report: picture, sound, label, and what each model predicted and attended to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from cache_schema.inspection.log_mel import log_mel
from cache_schema.inspection.plot import ClipPanel, plot_attentions
from cache_schema.inspection.prediction_text import prediction_text
from cache_schema.reader import Cache
from cache_schema.report.charts.base import Chart
from cache_schema.report.charts.clip import clip_charts
from cache_schema.report.pictures import Draw
from cache_schema.report.sound import MAX_SOUND_S, wav_address
from cache_schema.signal_names import WAVEFORM
from student.evaluation.attention_curves import ClipAttention, clip_curves
from student.evaluation.chosen_clips import most_unlike, most_wrong
from student.metrics.interface import Predictions
from student.report.blocks import Block


@dataclass(frozen=True, slots=True)
class ClipGroup:
    """Some clips and why they are shown."""

    heading: str
    words: str
    clips: list[dict[str, Any]]


def clip_groups(
    block: Block, cache: Cache, found: Mapping[str, Predictions], prefix: str, most: int
) -> tuple[list[ClipGroup], dict[str, Chart], dict[str, Draw]]:
    """Choose clips and draw them.

    Parameters
    ----------
    block : Block
        Of the runs.
    cache : Cache
        That has the clips.
    found : mapping
        Predictions of each model by its name, the student's first.
    prefix : str
        Of the charts' names.
    most : int
        Clips of each group.

    Returns
    -------
    groups : list of ClipGroup
    charts : dict of str to Chart
    pictures : dict of str to Draw
        The clips again, for a paper.
    """
    student, teacher = next(iter(found.values())), found.get("teacher")
    wrong = dict.fromkeys(most_wrong(student, most), "")
    unlike: dict[int, str] = {}
    if teacher is not None:
        unlike = {
            row: f"{apart:.2f} nats from the teacher's prediction"
            for row, apart in most_unlike(student, teacher, most + len(wrong))
            if row not in wrong
        }
    chosen = wrong | dict(list(unlike.items())[:most])
    drawn, charts, pictures = _draw(block, cache, found, chosen, prefix)
    groups = [
        ClipGroup(
            "Most wrong",
            _wrong_words(student.task),
            [drawn[row] for row in wrong],
        ),
        ClipGroup(
            "Most unlike the teacher",
            "Of the others, those whose prediction is farthest from the teacher's.",
            [drawn[row] for row in chosen if row not in wrong],
        ),
    ]
    return [group for group in groups if group.clips], charts, pictures


def _wrong_words(task: str) -> str:
    if task == "multi":
        return "Clips with a class missed or wrongly added, of highest loss, the worst first."
    return "Wrong predictions of highest loss, the worst first."


def _draw(
    block: Block,
    cache: Cache,
    found: Mapping[str, Predictions],
    chosen: Mapping[int, str],
    prefix: str,
) -> tuple[dict[int, dict[str, Any]], dict[str, Chart], dict[str, Draw]]:
    positions_N = next(iter(found.values())).clips_N
    assert positions_N is not None
    clips = {row: cache.clip_table.clips(int(p), int(p) + 1)[0]
             for row, p in ((row, positions_N[row]) for row in chosen)}  # fmt: skip
    drawn: dict[int, dict[str, Any]] = {}
    for row, remark in chosen.items():
        drawn[row] = {
            "id": clips[row].id,
            "name": f"{prefix}clip_{row}",
            "predictions": _shown_predictions(clips[row].labels, found, int(positions_N[row])),
            "remark": remark,
            "charts": [],
            "sound": "",
        }
    charts, pictures = dict[str, Chart](), dict[str, Draw]()
    if WAVEFORM in cache.signals and chosen:
        ids = [clips[row].id for row in chosen]
        runs = [block.shown.path, *([block.twin.path] if block.twin else [])]
        curves = clip_curves(runs, cache, block.split, ids)
        charts = _add_pictures(list(drawn.values()), curves, cache)
        for entry, one in zip(drawn.values(), curves, strict=True):
            panel = ClipPanel(one.title, one.samples_S, one.curves, one.place_s)
            pictures[entry["name"]] = partial(plot_attentions, [panel], cache.sample_rate_hz)
    return drawn, charts, pictures


def _add_pictures(
    drawn: Sequence[dict[str, Any]], curves: Sequence[ClipAttention], cache: Cache
) -> dict[str, Chart]:
    """Add to each clip its charts and its sound; gives the charts."""
    charts: dict[str, Chart] = {}
    for entry, one in zip(drawn, curves, strict=True):
        seconds = len(one.samples_S) / cache.sample_rate_hz
        drawn_charts = clip_charts(
            log_mel(one.samples_S, cache.sample_rate_hz),
            one.curves,
            seconds=seconds,
            place_s=one.place_s,
            name=entry["name"],
        )
        for number, chart in enumerate(drawn_charts):
            charts[f"{entry['name']}_{number}"] = chart
            entry["charts"].append(f"{entry['name']}_{number}")
        if seconds <= MAX_SOUND_S:
            entry["sound"] = wav_address(one.samples_S, cache.sample_rate_hz)
    return charts


def _shown_predictions(
    labels: Sequence[str], found: Mapping[str, Predictions], position: int
) -> list[dict[str, str]]:
    lines = [{"who": "label", "text": ", ".join(labels) or "none of the classes", "verdict": ""}]
    for name, predictions in found.items():
        assert predictions.clips_N is not None
        (rows,) = np.nonzero(predictions.clips_N == position)
        if len(rows):
            row = int(rows[0])
            text = prediction_text(
                predictions.logits_NC[row], predictions.classes, predictions.task, 3
            )
            chosen = np.flatnonzero(predictions.decisions()[row]).tolist()
            decided = {predictions.classes[c] for c in chosen}
            verdict = "right" if decided == set(labels) else "wrong"
            if predictions.task == "multi":
                text += _differences(decided, set(labels) & {*predictions.classes})
            lines.append({"who": name, "text": text, "verdict": verdict})
    return lines


def _differences(decided: set[str], labels: set[str]) -> str:
    """Which classes a decision misses and wrongly adds."""
    found = {"missed": sorted(labels - decided), "wrongly added": sorted(decided - labels)}
    return "".join(f"; {what}: {', '.join(names)}" for what, names in found.items() if names)

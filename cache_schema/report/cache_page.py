"""The page of a cache: what is in it, how good its teachers are, and clips to look at and listen to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache_schema.inspection.cache_cautions import (
    class_counts,
    corpus_cautions,
    mean_flatness,
    teacher_cautions,
)
from cache_schema.inspection.repeated import repeated_cautions
from cache_schema.inspection.summary import human_bytes
from cache_schema.reader import Cache
from cache_schema.report.cache_clips import clip_pictures, shown_clip, worst_clips
from cache_schema.report.charts.base import Chart
from cache_schema.report.charts.scores import ClassValues, class_chart
from cache_schema.report.page import Card, write_page
from cache_schema.report.pictures import write_pictures
from cache_schema.signal_names import TEMPORAL_ATTENTION, qualified

CLIPS = 8
CHART_CLASSES = 60


def write_cache_page(
    cache: Cache,
    facts: Mapping[str, Any],
    out: Path,
    *,
    command: str,
    clip: int | None = None,
    png: Path | None = None,
) -> int:
    """Write the page of a finished cache; gives the number of pictures beside it.

    Parameters
    ----------
    cache : Cache
        It, opened.
    facts : mapping
        As `cache_schema.inspection.summary.summary` gives them, with ``teachers[name]["score"]``.
    out : Path
        HTML file to write.
    command : str
        What makes it again.
    clip : int or None
        Position of a clip to show first.
    png : Path or None
        Folder for each chart and clip as a picture; see `cache_schema.report.pictures.check_pictures`.
    """
    scores = {name: known.get("score", {}) for name, known in facts["teachers"].items()}
    charts = _class_charts(cache)
    chosen = worst_clips(cache, CLIPS)
    if clip is not None:
        chosen = [clip, *(position for position in chosen if position != clip)]
    content = {
        "title": f"What is in {cache.root.name}",
        "command": command,
        "warnings": _warnings(cache, scores),
        "cards": [*_cards(facts), *_teacher_cards(scores)],
        "teachers": _teacher_rows(cache, facts),
        "signals": _signal_rows(facts),
        "class_chart": "classes" if charts else "",
        "clips": [shown_clip(cache, position, charts) for position in chosen],
    }
    pictures = 0 if png is None else write_pictures(png, charts, clip_pictures(cache, chosen))
    write_page(out, "cache.html", content, charts)
    return pictures


def _warnings(cache: Cache, scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    own = (line for name in cache.teachers for line in teacher_cautions(cache, name, scores[name]))
    return [*corpus_cautions(cache), *repeated_cautions(cache), *own]


def _cards(facts: Mapping[str, Any]) -> list[Card]:
    splits = ", ".join(f"{name} {clips:,}" for name, clips in facts["splits"].items())
    stored = sum(s["stored_bytes"] for part in facts["parts"] for s in part["signals"])
    names = {s["name"] for part in facts["parts"] for s in part["signals"]}
    return [
        Card("", "clips", f"{facts['clips']:,}", f"{splits}; {facts['views']} view(s)"),
        Card("", "classes", f"{len(facts['classes']):,}", f"{facts['task']}-label"),
        Card("", "stored", human_bytes(stored), f"{len(names)} signals"),
    ]


def _teacher_cards(scores: Mapping[str, Mapping[str, float]]) -> list[Card]:
    """Accuracy of each teacher on test, or on the last split that it has been scored on."""
    return [
        Card(
            "teacher",
            f"teacher {name}".strip(),
            f"{100 * own[split]:.1f} %",
            f"accuracy on {split}",
        )
        for name, own in scores.items()
        for split in list(own)[-1:]
    ]


def _teacher_rows(cache: Cache, facts: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for name, known in facts["teachers"].items():
        own = known["provenance"]
        share = mean_flatness(cache, qualified(TEMPORAL_ATTENTION, name))
        scores = [f"{split} {score:.1%}" for split, score in known.get("score", {}).items()]
        rows.append(
            [
                name or "first",
                f"{own.get('id')} ({own.get('family')})",
                ", ".join(scores) or "-",
                "-" if share is None else f"{share:.3f}",
            ]
        )
    return rows


def _signal_rows(facts: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            signal["name"],
            part["name"],
            signal["dtype"],
            f"{1000 * signal['hop_s']:.4g} ms" if signal["hop_s"] else "-",
            human_bytes(signal["stored_bytes"]),
        ]
        for part in facts["parts"]
        for signal in part["signals"]
    ]


def _class_charts(cache: Cache) -> dict[str, Chart]:
    """Clips of each class in each split, the rarest first."""
    counts = class_counts(cache)
    total = {name: sum(own[name] for own in counts.values()) for name in cache.classes}
    if not any(total.values()):
        return {}
    rarest = sorted(cache.classes, key=lambda name: (total[name], name))[:CHART_CLASSES]
    rows = [
        ClassValues(name, total[name], {split: own[name] for split, own in counts.items()})
        for name in rarest
    ]
    most = max(own[name] for own in counts.values() for name in rarest)
    return {"classes": class_chart(rows, "labelled clips", (-0.03 * most, 1.03 * most + 1))}

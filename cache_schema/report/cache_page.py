"""The page of a cache: what is in it, how good its teachers are, and clips to look at and hear."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.inspection.answers import answer_text, label_text
from cache_schema.inspection.cache_cautions import (
    class_counts,
    corpus_cautions,
    mean_flatness,
    teacher_cautions,
)
from cache_schema.inspection.log_mel import log_mel
from cache_schema.inspection.summary import clip_facts, human_bytes
from cache_schema.reader import Cache
from cache_schema.report.charts.base import Chart
from cache_schema.report.charts.clip import Curve, clip_charts
from cache_schema.report.charts.scores import ClassValues, class_chart
from cache_schema.report.page import Card, write_page
from cache_schema.report.sound import MAX_SOUND_S, wav_address
from cache_schema.signal_names import LOGITS, TEMPORAL_ATTENTION, VIEW_DRAWS, WAVEFORM, qualified
from cache_schema.view_recipe import place_within

CLIPS = 8
CHART_CLASSES = 60


def write_cache_page(
    cache: Cache, facts: Mapping[str, Any], out: Path, *, command: str, clip: int | None = None
) -> int:
    """Write the page of a finished cache; gives its bytes.

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
        "clips": [_clip(cache, position, charts) for position in chosen],
    }
    return write_page(out, "cache.html", content, charts)


def _warnings(cache: Cache, scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    own = (line for name in cache.teachers for line in teacher_cautions(cache, name, scores[name]))
    return [*corpus_cautions(cache), *own]


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


def worst_clips(cache: Cache, most: int) -> list[int]:
    """Positions of the clips whose labels the first teacher finds least likely, the worst first.

    Of the test split, or the last there is; without labels or logits its first clips.
    """
    split = "test" if "test" in cache.splits else cache.splits[-1]
    name = next(iter(cache.teachers), "")
    losses: list[tuple[float, int]] = []
    for unit in cache.units(split, 0):
        rows = cache.read_unit(unit, _logits_of(cache, name))
        loss_N = _losses(cache, name, rows.signals, rows.labels)
        losses += [(-loss, position) for loss, position in zip(loss_N, rows.clip, strict=True)]
    return [int(position) for _, position in sorted(losses)[:most]]


def _logits_of(cache: Cache, teacher: str) -> list[str]:
    """Name of a teacher's logits where they are cached for all classes of the cache."""
    known = cache.teachers.get(teacher, {}).get("classes", [])
    names = [qualified(LOGITS, teacher)]
    return names if names[0] in cache.signals and set(cache.classes) <= set(known) else []


def _losses(
    cache: Cache, teacher: str, signals: Mapping[str, Any], labels_NC: NDArray[np.uint8]
) -> list[float]:
    """How unlikely a teacher finds each row's labels, (N,); 0 where nothing is known."""
    if not signals or not cache.classes:
        return [0.0] * len(labels_NC)
    classes = list(cache.teachers[teacher]["classes"])
    logits_NC = next(iter(signals.values()))[:, [classes.index(name) for name in cache.classes]]
    logits_NC = logits_NC.astype(np.float64)
    if cache.task == "single":
        likely_NC = logits_NC - np.logaddexp.reduce(logits_NC, axis=1, keepdims=True)
    else:
        likely_NC = -np.logaddexp(0.0, -logits_NC)
    found: list[float] = -(likely_NC * labels_NC[:, : len(cache.classes)]).sum(1)
    return list(found)


def _clip(cache: Cache, position: int, charts: dict[str, Chart]) -> dict[str, Any]:
    """A clip as the page's template has it; its charts are added to `charts`."""
    facts, name = clip_facts(cache, position), f"clip{position}"
    shown = {
        "id": facts["id"],
        "name": name,
        "answers": _answers(cache, position, facts["signals"]),
        "remark": "quarantined" if facts["quarantined"] else f"{facts['split']}, view 0",
        "charts": [],
        "sound": "",
    }
    if WAVEFORM in facts["signals"]:
        samples_S, rate_hz = facts["signals"][WAVEFORM], cache.sample_rate_hz
        seconds, draws = len(samples_S) / rate_hz, facts["signals"].get(VIEW_DRAWS)
        place_s = None if draws is None else place_within(draws, seconds)
        drawn = clip_charts(log_mel(samples_S, rate_hz), _curves(cache, facts["signals"]),
                            seconds=seconds, place_s=place_s, name=name)  # fmt: skip
        charts |= {f"{name}_{number}": chart for number, chart in enumerate(drawn)}
        shown["charts"] = [f"{name}_{number}" for number in range(len(drawn))]
        shown["sound"] = wav_address(samples_S, rate_hz) if seconds <= MAX_SOUND_S else ""
    return shown


def _answers(cache: Cache, position: int, signals: Mapping[str, Any]) -> list[dict[str, str]]:
    clip = cache.clip_table.clips(position, position + 1)[0]
    answers = [{"who": "label", "text": label_text(clip), "verdict": ""}]
    for name, teacher in cache.teachers.items():
        logits_C = signals.get(qualified(LOGITS, name))
        if logits_C is not None:
            task = teacher.get("task") or cache.task
            text = answer_text(logits_C, teacher["classes"], task, 3)
            answers.append({"who": f"teacher {name}".strip(), "text": text, "verdict": ""})
    return answers


def _curves(cache: Cache, signals: Mapping[str, Any]) -> dict[str, Curve]:
    """Where each teacher attends."""
    found: dict[str, Curve] = {}
    for name in cache.teachers:
        signal = qualified(TEMPORAL_ATTENTION, name)
        if signal in signals:
            spec, weights_T = cache.signals[signal], signals[signal].astype(np.float64)
            frames_T = np.arange(len(weights_T), dtype=np.float64)
            times_T = np.asarray((spec.first_frame_s or 0.0) + (spec.hop_s or 0.0) * frames_T)
            found[f"teacher {name}".strip()] = (times_T, weights_T / weights_T.sum())
    return found

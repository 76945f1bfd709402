"""Clips of a cache's page: which are shown, and each one's picture, sound, label and predictions.

Shape suffixes: N clips, C classes, T frames, S samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.inspection.log_mel import log_mel
from cache_schema.inspection.plot import DRAWN_SIGNALS, plot_clip
from cache_schema.inspection.prediction_text import label_text, prediction_text
from cache_schema.inspection.summary import clip_facts
from cache_schema.reader import Cache
from cache_schema.report.charts.base import Chart
from cache_schema.report.charts.clip import Curve, clip_charts
from cache_schema.report.pictures import Draw
from cache_schema.report.sound import MAX_SOUND_S, wav_address
from cache_schema.signal_names import LOGITS, TEMPORAL_ATTENTION, VIEW_DRAWS, WAVEFORM, qualified
from cache_schema.view_recipe import place_within


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


def shown_clip(cache: Cache, position: int, charts: dict[str, Chart]) -> dict[str, Any]:
    """A clip as the page's template has it; its charts are added to `charts`."""
    facts, name = clip_facts(cache, position), f"clip{position}"
    shown = {
        "id": facts["id"],
        "name": name,
        "predictions": _shown_predictions(cache, position, facts["signals"]),
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


def clip_pictures(cache: Cache, positions: Sequence[int]) -> dict[str, Draw]:
    """How clips are drawn for a paper, by their names; those of which nothing is cached are left out."""
    facts = {f"clip{position}": clip_facts(cache, position) for position in positions}
    drawn = {name: own for name, own in facts.items() if set(DRAWN_SIGNALS) & set(own["signals"])}
    return {name: partial(plot_clip, cache, own) for name, own in drawn.items()}


def _shown_predictions(
    cache: Cache, position: int, signals: Mapping[str, Any]
) -> list[dict[str, str]]:
    clip = cache.clip_table.clips(position, position + 1)[0]
    predictions = [{"who": "label", "text": label_text(clip), "verdict": ""}]
    for name, teacher in cache.teachers.items():
        logits_C = signals.get(qualified(LOGITS, name))
        if logits_C is not None:
            task = teacher.get("task") or cache.task
            text = prediction_text(logits_C, teacher["classes"], task, 3)
            predictions.append({"who": f"teacher {name}".strip(), "text": text, "verdict": ""})
    return predictions


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

"""What ``inspect-cache`` knows of a cache, finished or not, as plain JSON-ready facts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cache_schema.clip_table import read_clips, read_strings
from cache_schema.documents import CommitRecord, Manifest, PartPlan, parse
from cache_schema.errors import UsageError
from cache_schema.plugins import unknown_name
from cache_schema.reader import Cache, Ragged, Unit
from cache_schema.writer import load_manifest, load_plan, missing_units, record_path

STATISTICS_UNITS = 16


def human_bytes(size: float) -> str:
    """Bytes with a decimal unit."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


def summary(root: Path) -> dict[str, Any]:
    """Facts of a cache; works on an unfinished one.

    Raises
    ------
    CacheError
        If there is no cache or its documents are damaged.
    """
    manifest = load_manifest(root)
    plans = [load_plan(root, entry) for entry in manifest.parts]
    corpus = manifest.corpus
    return {
        "format_version": manifest.format_version,
        "generation": manifest.generation,
        "clips": corpus.clips,
        "classes": corpus.classes,
        "task": corpus.task,
        "splits": {split.name: split.clips for split in corpus.splits},
        "corpus_fingerprint": corpus.fingerprint,
        "sample_rate_hz": manifest.sample_rate_hz,
        "views": max(plan.first_view + plan.views for plan in plans),
        "teacher": plans[0].teacher,
        "finished": all(entry.index_sha256 is not None for entry in manifest.parts),
        "parts": [_part_summary(root, manifest, plan) for plan in plans],
    }


def _part_summary(root: Path, manifest: Manifest, plan: PartPlan) -> dict[str, Any]:
    records = list(_records(root, plan))
    missing = missing_units(root, plan)
    quarantine = [
        {"clip": read_strings(root, "id", first + q.row, first + q.row + 1)[0], "reason": q.reason}
        for record in records
        for q in record.quarantine
        for first in [plan.units.first_clip[record.unit]]
    ]
    return {
        "name": plan.name,
        "sealed": manifest.sealed(plan.name),
        "views": [plan.first_view, plan.first_view + plan.views],
        "view_recipe": plan.view_recipe,
        "seed": plan.seed,
        "source": plan.source,
        "rows": sum(plan.units.rows),
        "units": len(plan.units.rows),
        "units_done": len(plan.units.rows) - len(missing),
        "units_missing": missing,
        "quarantined": len(quarantine),
        "quarantine": quarantine,
        "limited_rows": sum(len(record.gains) for record in records),
        "signals": [_signal_summary(plan, name, records) for name in _names(plan)],
    }


def _names(plan: PartPlan) -> list[str]:
    return [signal.name for signal in plan.signals]


def _signal_summary(plan: PartPlan, name: str, records: list[CommitRecord]) -> dict[str, Any]:
    spec = plan.signal(name)
    lengths = [n for record in records for n in record.lengths.get(name, []) if n]
    return {
        "name": name,
        "layout": spec.layout,
        "row_shape": spec.row_shape,
        "dtype": spec.dtype,
        "hop_s": spec.hop_s,
        "first_frame_s": spec.first_frame_s,
        "stored_bytes": sum(record.objects[name].bytes for record in records),
        "entries": {"shortest": min(lengths), "longest": max(lengths)} if lengths else None,
    }


def _records(root: Path, plan: PartPlan) -> Iterator[CommitRecord]:
    missing = set(missing_units(root, plan))
    for unit in range(len(plan.units.rows)):
        if unit not in missing:
            data = record_path(root, plan.name, unit).read_bytes()
            yield parse(CommitRecord, data, f"record of work unit {unit} of {plan.name}")


def statistics(cache: Cache) -> dict[str, dict[str, float]]:
    """Range, mean and suspicious rows of each signal over a spread of units (finished caches)."""
    units = [unit for split in cache.splits for unit in cache.units(split)]
    chosen = units[:: max(1, len(units) // STATISTICS_UNITS)]
    return {name: _signal_statistics(cache, chosen, name) for name in cache.signals}


def _signal_statistics(cache: Cache, units: list[Unit], name: str) -> dict[str, float]:
    chunks = [_flat_values(cache.read_unit(unit, [name]).signals[name]) for unit in units]
    values = np.concatenate(chunks).astype(np.float64)
    if not len(values):
        return {}
    return {
        "min": float(values.min()),
        "mean": float(values.mean()),
        "max": float(values.max()),
        "not_finite": int((~np.isfinite(values)).sum()),
        "zero_share": float((values == 0).mean()),
    }


def _flat_values(signal: Any) -> np.ndarray[Any, Any]:
    values = signal.values if isinstance(signal, Ragged) else signal
    return np.asarray(values).reshape(-1)


def teacher_score(cache: Cache) -> dict[str, float]:
    """Share of clips whose largest cached logit is their label, for each split (single label)."""
    teacher = cache.teacher
    if cache.task != "single" or teacher is None or "logits" not in cache.signals:
        return {}
    if sorted(teacher["classes"]) != sorted(cache.classes):
        return {}
    order = [teacher["classes"].index(name) for name in cache.classes]
    scores = {}
    for split in cache.splits:
        right = total = 0
        for unit in cache.units(split, view=0):
            rows = cache.read_unit(unit, ["logits"])
            answers = rows.signals["logits"][:, order].argmax(axis=1)
            hits = rows.labels[np.arange(len(answers)), answers]
            right += int(hits[rows.labelled].sum())
            total += int(rows.labelled.sum())
        if total:
            scores[split] = right / total
    return scores


def find_clip(root: Path, clip_id: str) -> int:
    """Position of a clip in the table.

    Raises
    ------
    UsageError
        If no clip has this id; names the nearest.
    """
    ids = read_strings(root, "id", 0, load_manifest(root).corpus.clips)
    if clip_id not in ids:
        nearest = str(unknown_name(clip_id, ids, "clip")).rpartition("Did you mean")[2]
        hint = f" Did you mean{nearest}" if nearest.startswith(" '") else ""
        raise UsageError(
            f"no clip {clip_id!r} among the {len(ids)} of {root}.{hint} First ids: "
            f"{', '.join(ids[:3])}",
            kind="unknown",
        )
    return ids.index(clip_id)


def clip_facts(cache: Cache, position: int, view: int = 0) -> dict[str, Any]:
    """Everything cached of one view of one clip; arrays stay arrays."""
    clip = read_clips(cache.root, position, position + 1, cache.classes)[0]
    unit = next(
        unit
        for unit in cache.units(clip.split, view)
        if unit.first_clip <= position < unit.first_clip + unit.rows
    )
    rows = cache.read_unit(unit, list(cache.signals))
    found = np.flatnonzero(rows.clip == position)
    facts: dict[str, Any] = {
        "id": clip.id,
        "path": clip.path,
        "labels": list(clip.labels),
        "split": clip.split,
        "view": view,
        "work_unit": unit.number,
        "quarantined": not len(found),
        "signals": {},
    }
    if len(found):
        row = int(found[0])
        facts["signals"] = {name: signal[row] for name, signal in rows.signals.items()}
    return facts

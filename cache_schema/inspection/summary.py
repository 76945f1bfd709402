"""What ``inspect-cache`` reports of a cache, finished or not, as plain JSON-ready facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cache_schema.clip_table import ClipTable
from cache_schema.errors import CacheError, UsageError
from cache_schema.front_ends import FRONT_ENDS
from cache_schema.metadata import CommitRecord, Manifest, PartPlan
from cache_schema.plugins import unknown_name
from cache_schema.reader import Cache, Ragged, Unit
from cache_schema.scores import top_1_hits
from cache_schema.signal_names import LOGITS, VIEW_DRAWS, VIEW_LABELS, WAVEFORM, qualified
from cache_schema.store.address import CachePath
from cache_schema.store.objects import ahead, objects_of
from cache_schema.store.part_digests import read_record
from cache_schema.text import one_line
from cache_schema.view_recipe import RecipeStep, read_step
from cache_schema.writer import load_manifest, load_plans, missing_units, part_folder

STATISTICS_UNITS = 16
LISTED_AT_ONCE = 4096  # clips; a large corpus' table is read in pieces


def human_bytes(size: float) -> str:
    """Bytes with a decimal unit."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


def summary(root: CachePath) -> dict[str, Any]:
    """Facts of a cache; works on an unfinished one.

    Raises
    ------
    CacheError
        If there is no cache or its documents are damaged.
    """
    manifest = load_manifest(root)
    plans = load_plans(root, manifest)
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
        "views": max(plan.view_range.stop for plan in plans),
        "teacher": plans[0].teacher,
        "teachers": _teachers(plans),
        "finished": all(entry.index_sha256 is not None for entry in manifest.parts),
        "parts": [_part_summary(root, manifest, plan) for plan in plans],
    }


def _teachers(plans: Sequence[PartPlan]) -> dict[str, dict[str, Any]]:
    """Each teacher by its name, the first by an empty one, with the signals that are its own."""
    missing_views = views_missing_from_teachers(plans)
    teachers: dict[str, dict[str, Any]] = {}
    for plan in plans:
        if plan.teacher is not None:
            entry = teachers.setdefault(
                plan.teacher_name,
                {
                    "provenance": plan.teacher,
                    "signals": [],
                    "views_missing": missing_views.get(plan.teacher_name, []),
                },
            )
            known = {WAVEFORM, VIEW_DRAWS, VIEW_LABELS, *FRONT_ENDS, *entry["signals"]}
            entry["signals"] += [name for name in _names(plan) if name not in known]
    return teachers


def views_missing_from_teachers(plans: Sequence[PartPlan]) -> dict[str, list[int]]:
    """Views of the cache that a teacher has not processed, for each teacher that lacks any."""
    views_of: dict[str, set[int]] = {}
    for plan in plans:
        views_of.setdefault(plan.teacher_name, set()).update(plan.view_range)
    every = set().union(*views_of.values())
    return {name: sorted(every - views) for name, views in views_of.items() if every - views}


def _part_summary(root: CachePath, manifest: Manifest, plan: PartPlan) -> dict[str, Any]:
    missing = missing_units(root, plan)
    records = list(_records(root, plan, missing))
    table = ClipTable(root, manifest)
    quarantine = [
        {"clip": table.strings("id", first + q.row, first + q.row + 1)[0], "reason": q.reason}
        for record in records
        for q in record.quarantine
        for first in [plan.units.first_clip[record.unit]]
    ]
    return {
        "name": plan.name,
        "teacher": plan.teacher_name,
        "sealed": manifest.sealed(plan.name),
        "views": [plan.view_range.start, plan.view_range.stop],
        "view_recipe": [_step_facts(text) for text in plan.view_recipe],
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


def _step_facts(text: str) -> dict[str, Any] | str:
    step = read_step(text)
    return text if step is None else step.model_dump()


def _names(plan: PartPlan) -> list[str]:
    return [signal.name for signal in plan.signals]


def _signal_summary(plan: PartPlan, name: str, records: list[CommitRecord]) -> dict[str, Any]:
    spec = plan.signal(name)
    lengths = [n for record in records for n in record.lengths.get(name, []) if n]
    entries = sum(lengths)
    if spec.layout == "fixed":
        entries = sum(plan.units.rows[record.unit] for record in records)
    return {
        "name": name,
        "layout": spec.layout,
        "row_shape": spec.row_shape,
        "dtype": spec.dtype,
        "hop_s": spec.hop_s,
        "first_frame_s": spec.first_frame_s,
        "stored_bytes": sum(record.objects[name].bytes for record in records),
        "entries_held": entries,
        "entries_padded": len(records) * spec.chunk_length - entries,
        "entries": {"shortest": min(lengths), "longest": max(lengths)} if lengths else None,
    }


def _records(root: CachePath, plan: PartPlan, missing: Sequence[int]) -> Iterator[CommitRecord]:
    folder = part_folder(root, plan.name)
    units = sorted(set(range(len(plan.units.rows))) - set(missing))
    found = ahead(lambda unit: read_record(folder, plan, unit), units, objects_of(root).at_once)
    for unit, (record, problems) in zip(units, found, strict=True):
        if record is None:
            raise CacheError(
                f"the record of work unit {unit} of {plan.name} {'; '.join(problems)}. List all "
                f"damage: inspect-cache {root} --verify",
                kind="damaged",
            )
        yield record


def statistics(cache: Cache) -> dict[str, dict[str, float]]:
    """Range, mean and suspicious rows of each signal over a spread of units (finished caches)."""
    units = [unit for split in cache.splits for unit in cache.units(split)]
    chosen = units[:: max(1, len(units) // STATISTICS_UNITS)]
    # A range over what was drawn would be one over seconds, decibels and numbers of recordings.
    names = [name for name in cache.signals if name != VIEW_DRAWS]
    return {name: _signal_statistics(cache, chosen, name) for name in names}


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


def teacher_accuracy(
    cache: Cache, name: str, splits: Sequence[str] | None = None, units: int | None = None
) -> dict[str, float]:
    """Share of clips whose largest cached logit is their label, for each split (single label).

    A mixture counts for the clip that has the larger share in it.

    Empty where a teacher has no logits in every view or other classes than the cache. Of a very large
    cache the first `units` of a split are a fair sample: its clips lie in random order.
    """
    teacher, logits = cache.teachers[name], qualified(LOGITS, name)
    if cache.task != "single" or logits not in cache.signals:
        return {}
    if sorted(teacher["classes"]) != sorted(cache.classes):
        return {}
    order = [teacher["classes"].index(label) for label in cache.classes]
    scores = {}
    for split in cache.splits if splits is None else splits:
        right = total = 0
        for unit in cache.units(split, view=0)[:units]:
            rows = cache.read_unit(unit, [logits, *cache.target_signals])
            hits = top_1_hits(rows.signals[logits][:, order], rows.targets)
            right += int(hits[rows.labelled].sum())
            total += int(rows.labelled.sum())
        if total:
            scores[split] = right / total
    return scores


def find_clip(root: CachePath, clip_id: str) -> int:
    """Position of a clip in the table.

    Raises
    ------
    UsageError
        If no clip has this id; names the nearest.
    """
    manifest = load_manifest(root)
    ids = ClipTable(root, manifest).strings("id", 0, manifest.corpus.clips)
    if clip_id not in ids:
        nearest = str(unknown_name(clip_id, ids, "clip")).rpartition("Did you mean")[2]
        hint = f" Did you mean{nearest}" if nearest.startswith(" '") else ""
        raise UsageError(
            f"no clip {clip_id!r} among the {len(ids)} of {root}.{hint} First ids: "
            f"{', '.join(map(one_line, ids[:3]))}. List all: inspect-cache {root} --clips",
            kind="unknown",
        )
    return ids.index(clip_id)


def listed_clips(root: CachePath, split: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield id, split, labels and path of each clip of a cache, finished or not.

    Raises
    ------
    UsageError
        If there is no such split; names the known ones.
    """
    manifest = load_manifest(root)
    known = {one.name: one for one in manifest.corpus.splits}
    if split is not None and split not in known:
        raise unknown_name(split, known, "split")
    table = ClipTable(root, manifest)
    for one in known.values() if split is None else [known[split]]:
        end = one.first_clip + one.clips
        for first in range(one.first_clip, end, LISTED_AT_ONCE):
            for clip in table.clips(first, min(first + LISTED_AT_ONCE, end)):
                yield {
                    "id": clip.id, "split": clip.split, "labels": list(clip.labels),
                    "labelled": clip.labelled, "path": clip.path,
                }  # fmt: skip


def clip_facts(cache: Cache, position: int, view: int = 0) -> dict[str, Any]:
    """Everything cached of one view of one clip; arrays stay arrays.

    Each signal is read by itself: a clip that one teacher could not use has the others' signals.
    """
    clip = cache.clip_table.clips(position, position + 1)[0]
    unit = next(_units_with(cache, clip.split, position, view))
    signals: dict[str, Any] = {}
    for name in cache.signals:
        rows = cache.read_unit(unit, [name])
        for row in np.flatnonzero(rows.clip == position):
            signals[name] = rows.signals[name][row]
    return {
        "id": clip.id,
        "path": clip.path,
        "labels": list(clip.labels),
        "labelled": clip.labelled,
        "split": clip.split,
        "view": view,
        "work_unit": unit.number,
        "quarantined": not signals,
        "drawn": _drawn(cache, clip.split, position),
        "signals": signals,
    }


def _units_with(cache: Cache, split: str, position: int, view: int | None = None) -> Iterator[Unit]:
    for unit in cache.units(split, view):
        if unit.first_clip <= position < unit.first_clip + unit.rows:
            yield unit


def _drawn(cache: Cache, split: str, position: int) -> list[dict[str, Any]]:
    """What was drawn for each view of a clip, by name; a recording is named, not numbered."""
    names, drawn = cache.view_draw_names, []
    if not names:
        return []
    texts = next(part.plan.view_recipe for part in cache.parts if VIEW_DRAWS in part.names)
    steps = [step for step in map(read_step, texts) if step for _ in step.draws]
    for unit in _units_with(cache, split, position):
        rows = cache.read_unit(unit, [VIEW_DRAWS])
        for row in np.flatnonzero(rows.clip == position):
            values = [round(float(value), 6) for value in rows.signals[VIEW_DRAWS][row]]
            view: dict[str, Any] = {"view": unit.view} | dict(zip(names, values, strict=True))
            for name, step in zip(names[2:], steps, strict=True):
                view[name] = _named_recording(step, split, name, view[name])
            drawn.append(view)
    return drawn


def _named_recording(step: RecipeStep, split: str, name: str, value: float) -> float | str:
    """Look up a recording by its number among those of the split."""
    recordings = step.loaded.get("recordings")
    if not name.endswith(".recording") or not isinstance(recordings, dict):
        return value
    own: Any = recordings.get(split, recordings.get("test", []))
    return str(own[int(value)]) if 0 <= value < len(own) else value

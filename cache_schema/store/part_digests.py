"""What vouches for the commit records and the array metadata of a part, and whether it agrees.

A sealed part's index has their digests. Until there is one, the part's folder ``unsealed`` has them:
``layout.json`` for what was laid out, ``UNIT.sha256`` for each record. A part without that folder was
begun by a program that wrote none.
"""

from __future__ import annotations

import shutil
from collections import deque
from pathlib import Path

from cache_schema.documents import parse, problems_of
from cache_schema.errors import CacheError
from cache_schema.metadata import CommitRecord, PartIndex, PartPlan
from cache_schema.store.address import CachePath
from cache_schema.store.arrays import chunk_key
from cache_schema.store.files import PARTIAL_SUFFIX, sha256
from cache_schema.store.objects import ahead, differing_objects, get_recorded, objects_of

PLAN = "plan.json"
UNSEALED = "unsealed"
LAYOUT = f"{UNSEALED}/layout.json"


def is_unsealed(folder: CachePath) -> bool:
    """Whether a part keeps digests of its records, as no index has them yet.

    A store has no folders; there ``layout.json`` stands for it, the first to come and the first to go.
    """
    return objects_of(folder).exists(UNSEALED if isinstance(folder, Path) else LAYOUT)


def remove_unsealed_digests(folder: CachePath, plan: PartPlan) -> None:
    """Remove them from a sealed part, all at once: half of them would accuse what is whole."""
    if isinstance(folder, Path):
        gone = folder / f"{UNSEALED}{PARTIAL_SUFFIX}"
        shutil.rmtree(gone, ignore_errors=True)
        if (folder / UNSEALED).is_dir():
            (folder / UNSEALED).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        return
    objects = objects_of(folder)
    if objects.exists(LAYOUT) or any(objects.list(UNSEALED)):
        objects.delete(LAYOUT)
        keys = map(record_digest_key, range(len(plan.units.rows)))
        deque(ahead(objects.delete, keys, objects.at_once), maxlen=0)


def record_key(unit: int) -> str:
    """Key of a unit's commit record, below its part."""
    return f"commits/{unit:06d}.json"


def record_digest_key(unit: int) -> str:
    """Key of the digest of a unit's record, below an unsealed part."""
    return f"{UNSEALED}/{unit:06d}.sha256"


def chunk_keys(plan: PartPlan, unit: int) -> dict[str, str]:
    """Key of a unit's chunk of each signal, below its part."""
    return {s.name: f"{s.name}/{chunk_key(unit, len(s.chunk_shape))}" for s in plan.signals}


def metadata_keys(plan: PartPlan) -> list[str]:
    """Keys of what is laid out before any unit is written."""
    return ["zarr.json", PLAN, *(f"{signal.name}/zarr.json" for signal in plan.signals)]


def layout_damage(folder: CachePath, plan: PartPlan) -> list[tuple[str, str]]:
    """Key and problem of each metadata object of an unsealed part that is not as laid out."""
    if not is_unsealed(folder):
        return []
    try:
        data = objects_of(folder).get(LAYOUT)
        layout = parse(PartIndex, data, LAYOUT)
    except FileNotFoundError:  # unless another slice has sealed the part since
        return [(LAYOUT, "is missing")] if is_unsealed(folder) else []
    except CacheError as error:
        return [(LAYOUT, str(error))]
    ours = layout.part == plan.name and layout.objects.keys() == set(metadata_keys(plan))
    if not ours or data != layout.encode():
        return [(LAYOUT, "is not what was written when this part was laid out")]
    different = differing_objects(folder, layout.objects)
    return [(key, f"{problem} in {LAYOUT}") for key, problem in different]


def read_record(
    folder: CachePath, plan: PartPlan, unit: int, sealed: str | None = None
) -> tuple[CommitRecord | None, list[str]]:
    """Read a unit's record: the record, or None and every reason not to trust it.

    Parameters
    ----------
    folder : CachePath
        The part's.
    plan : PartPlan
        The part's.
    unit : int
        Number of the work unit.
    sealed : str or None
        The record's digest in the sealed index, if there is one.
    """
    try:
        source, expected = _recorded_digest(folder, unit, sealed)
        data = get_recorded(objects_of(folder), record_key(unit), expected)
    except OSError as error:
        return None, [str(error.strerror)]
    found, problems = sha256(data), []
    if expected not in (None, found):
        problems = [f"has digest {found[:12]}, {source} records {(expected or '')[:12]}"]
    problems += problems_of(CommitRecord, data)
    if not problems:
        record = CommitRecord.model_validate_json(data)
        problems = _plan_mismatch(record, plan, unit)
        if not problems:
            return record, []
    return None, problems


def _recorded_digest(folder: CachePath, unit: int, sealed: str | None) -> tuple[str, str | None]:
    """What knows the digest of a unit's record, and the digest; None where nothing does."""
    if sealed is not None:
        return "the index", sealed
    if not is_unsealed(folder):
        return "", None
    key = record_digest_key(unit)
    try:
        return key, objects_of(folder).get(key).decode("utf-8", "replace")
    except FileNotFoundError:  # as above
        return (key, "nothing") if is_unsealed(folder) else ("", None)


def _plan_mismatch(record: CommitRecord, plan: PartPlan, unit: int) -> list[str]:
    """What of a record is not of this unit, or does not fit the plan."""
    found = (record.part, record.unit, record.rows, record.plan_sha256)
    wanted = (plan.name, unit, plan.units.rows[unit], plan.digest)
    if found != wanted:
        return [f"is of another plan: it has {found}, the plan {wanted}"]
    room = {s.name: s.chunk_length for s in plan.signals if s.layout != "fixed"}
    names = {signal.name for signal in plan.signals}
    if record.objects.keys() != names or record.lengths.keys() != room.keys():
        return [f"has the signals {sorted(record.objects)}, the plan {sorted(names)}"]
    lengths = {len(record.sources), *map(len, record.lengths.values())}
    overlong = any(sum(record.lengths[name]) > room[name] for name in room)
    beyond = any(entry.row >= record.rows for entry in record.quarantine)
    if overlong or beyond or lengths != {record.rows}:
        return [f"does not fit its {record.rows} rows"]
    return []

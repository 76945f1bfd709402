"""What vouches for the commit records and the array metadata of a part, and whether it agrees.

A sealed part's index has their digests. Until there is one, the part's folder ``unsealed`` has them:
``layout.json`` for what was laid out, ``UNIT.sha256`` for each record. A part without that folder was
begun by a program that wrote none.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from cache_schema.documents import parse, problems_of
from cache_schema.errors import CacheError
from cache_schema.metadata import CommitRecord, PartIndex, PartPlan
from cache_schema.store.files import PARTIAL_SUFFIX, differing_objects, sha256, write_atomic
from cache_schema.store.safe_open import read_plain

PLAN = "plan.json"
UNSEALED = "unsealed"
LAYOUT = f"{UNSEALED}/layout.json"


def remove_unsealed_digests(folder: Path) -> None:
    """Remove them from a sealed part, all at once: half of them would accuse what is whole."""
    gone = folder / f"{UNSEALED}{PARTIAL_SUFFIX}"
    shutil.rmtree(gone, ignore_errors=True)
    if (folder / UNSEALED).is_dir():
        (folder / UNSEALED).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def record_key(unit: int) -> str:
    """Key of a unit's commit record, below its part."""
    return f"commits/{unit:06d}.json"


def record_digest_key(unit: int) -> str:
    """Key of the digest of a unit's record, below an unsealed part."""
    return f"{UNSEALED}/{unit:06d}.sha256"


def metadata_keys(plan: PartPlan) -> list[str]:
    """Keys of what is laid out before any unit is written."""
    return ["zarr.json", PLAN, *(f"{signal.name}/zarr.json" for signal in plan.signals)]


def write_layout_digests(folder: Path, plan: PartPlan) -> None:
    """Note the digests of what was just laid out."""
    objects = {key: sha256(read_plain(folder / key)) for key in metadata_keys(plan)}
    write_atomic(folder / LAYOUT, PartIndex(part=plan.name, objects=objects).encode())


def layout_damage(folder: Path, plan: PartPlan) -> list[tuple[str, str]]:
    """Key and problem of each metadata object of an unsealed part that is not as laid out."""
    if not (folder / UNSEALED).is_dir():
        return []
    try:
        data = read_plain(folder / LAYOUT)
        layout = parse(PartIndex, data, LAYOUT)
    except FileNotFoundError:
        return [(LAYOUT, "is missing")]
    except CacheError as error:
        return [(LAYOUT, str(error))]
    ours = layout.part == plan.name and layout.objects.keys() == set(metadata_keys(plan))
    if not ours or data != layout.encode():
        return [(LAYOUT, "is not what was written when this part was laid out")]
    different = differing_objects(folder, layout.objects)
    return [(key, f"{problem} in {LAYOUT}") for key, problem in different]


def read_record(
    folder: Path, plan: PartPlan, unit: int, sealed: str | None = None
) -> tuple[CommitRecord | None, list[str]]:
    """Read a unit's record: the record, or None and every reason not to trust it.

    Parameters
    ----------
    folder : Path
        The part's.
    plan : PartPlan
        The part's.
    unit : int
        Number of the work unit.
    sealed : str or None
        The record's digest in the sealed index, if there is one.
    """
    try:
        data = read_plain(folder / record_key(unit))
    except OSError as error:
        return None, [str(error.strerror)]
    problems = _digest_mismatch(folder, unit, sha256(data), sealed)
    problems += problems_of(CommitRecord, data)
    if not problems:
        record = CommitRecord.model_validate_json(data)
        problems = _plan_mismatch(record, plan, unit)
        if not problems:
            return record, []
    return None, problems


def _digest_mismatch(folder: Path, unit: int, found: str, sealed: str | None) -> list[str]:
    path = folder / record_digest_key(unit)
    if sealed is not None:
        expected, source = sealed, "the index"
    elif path.parent.is_dir():
        expected = read_plain(path).decode("utf-8", "replace") if path.is_file() else "nothing"
        source = record_digest_key(unit)
    else:
        return []
    return (
        [] if expected == found else [f"has digest {found[:12]}, {source} records {expected[:12]}"]
    )


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

"""Verify a cache in full: every stored object against its digest, up to the manifest.

Works on unfinished caches too: what is committed is checked, what is missing is not damage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cache_schema.arrays import chunk_key
from cache_schema.documents import (
    CommitRecord,
    Manifest,
    PartEntry,
    PartIndex,
    PartPlan,
    problems_of,
)
from cache_schema.errors import CacheError
from cache_schema.reader import SealedPart
from cache_schema.storage import differing_objects, keys_below, sha256
from cache_schema.teacher_names import described
from cache_schema.writer import (
    INDEX,
    MANIFEST,
    load_manifest,
    load_plan,
    missing_units,
    part_folder,
    record_path,
)


@dataclass(frozen=True, slots=True)
class Damage:
    """One stored object that is not what was written.

    `part` and `unit` are set when recomputing that work unit mends it.
    """

    object: str
    problem: str
    part: str | None = None
    unit: int | None = None
    rows: str = ""

    def __str__(self) -> str:
        """One line: object, unit and rows, problem."""
        where = f" (work unit {self.unit}, {self.rows})" if self.unit is not None else ""
        return f"{self.object}{where}: {self.problem}"


def verify(root: Path) -> list[Damage]:
    """Compare every object of a cache with what its records promise.

    Returns
    -------
    list of Damage
        Empty when the cache is whole.
    """
    try:
        manifest = load_manifest(root)
    except CacheError as error:
        if error.kind in ("missing", "too_new"):
            raise
        return [Damage(MANIFEST, str(error))]
    found = list(_compare(root, "", manifest.clip_table | {"zarr.json": manifest.root_group}))
    for entry in manifest.parts:
        found += _verify_part(root, manifest, entry)
    known = {MANIFEST, "zarr.json", *manifest.clip_table}
    for key in keys_below(root):
        if key not in known and not key.startswith("parts/"):
            found.append(Damage(key, "is not named by the manifest"))
    return found


def _verify_part(root: Path, manifest: Manifest, entry: PartEntry) -> Iterator[Damage]:
    prefix = f"parts/{entry.name}/"
    try:
        plan = load_plan(root, entry)
    except CacheError as error:
        yield Damage(f"{prefix}plan.json", str(error))
        return
    if entry.index_sha256 is not None:
        yield from _verify_index(root, entry)
    records = sealed_records(root, manifest, entry.name)
    missing = set(missing_units(root, plan))
    for unit in range(len(plan.units.rows)):
        if unit not in missing:
            yield from _verify_unit(root, plan, unit, records.get(unit))
        elif entry.index_sha256 is not None:
            yield _unit_damage(plan, unit, f"{prefix}commits/{unit:06d}.json", "is missing")


def _verify_index(root: Path, entry: PartEntry) -> Iterator[Damage]:
    folder, prefix = part_folder(root, entry.name), f"parts/{entry.name}/"
    data = (folder / INDEX).read_bytes() if (folder / INDEX).is_file() else b""
    if sha256(data) != entry.index_sha256:
        yield Damage(
            f"{prefix}{INDEX}", "is missing or differs from the manifest's digest", entry.name
        )
        return
    objects = PartIndex.model_validate_json(data).objects
    for damage in _compare(root, prefix, objects):
        mendable = damage.object.startswith(f"{prefix}index/")
        yield Damage(damage.object, damage.problem, entry.name if mendable else None)


def sealed_records(root: Path, manifest: Manifest, part: str) -> dict[int, str]:
    """Digest of each unit's record as the sealed index has it; empty when it cannot be read."""
    entry = next(entry for entry in manifest.parts if entry.name == part)
    if entry.index_sha256 is None:
        return {}
    try:
        return dict(enumerate(SealedPart(root, entry).record_digests()))
    except CacheError:
        return {}


def _verify_unit(root: Path, plan: PartPlan, unit: int, sealed: str | None) -> Iterator[Damage]:
    key = f"parts/{plan.name}/commits/{unit:06d}.json"
    data = record_path(root, plan.name, unit).read_bytes()
    problems = problems_of(CommitRecord, data)
    if sealed is not None and sha256(data) != sealed:
        problems = [f"has digest {sha256(data)[:12]}, the index says {sealed[:12]}", *problems]
    if problems:
        yield _unit_damage(plan, unit, key, "; ".join(problems))
        return
    record = CommitRecord.model_validate_json(data)
    if record.unit != unit or record.plan_sha256 != sha256(plan.encode()):
        yield _unit_damage(plan, unit, key, f"belongs to work unit {record.unit} of another plan")
        return
    for signal in plan.signals:
        stored = record.objects[signal.name]
        chunk = f"parts/{plan.name}/{signal.name}/{chunk_key(unit, len(signal.chunk_shape))}"
        for damage in _compare(root, "", {chunk: stored.sha256}):
            yield _unit_damage(plan, unit, damage.object, damage.problem)


def _unit_damage(plan: PartPlan, unit: int, key: str, problem: str) -> Damage:
    first, rows = plan.units.first_clip[unit], plan.units.rows[unit]
    where = f"view {plan.units.view[unit]}, clips {first} to {first + rows - 1}"
    where += f", {described(plan.teacher_name)}" if plan.teacher_name else ""
    return Damage(key, problem, plan.name, unit, where)


def _compare(root: Path, prefix: str, objects: dict[str, str]) -> Iterator[Damage]:
    for key, problem in differing_objects(root / prefix, objects):
        yield Damage(f"{prefix}{key}", problem)

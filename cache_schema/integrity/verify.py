"""Verify a cache in full: every stored object against its digest, up to the manifest.

Works on unfinished caches too: what is committed is checked, what is missing is not damage.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cache_schema.documents import parse
from cache_schema.errors import CacheError
from cache_schema.integrity.cleanup import unnamed_parts
from cache_schema.metadata import Manifest, PartEntry, PartIndex, PartPlan
from cache_schema.reader import SealedPart
from cache_schema.signal_names import teacher_label
from cache_schema.store.address import CachePath
from cache_schema.store.files import PARTIAL_SUFFIX, sha256
from cache_schema.store.objects import differing_objects, get_recorded, objects_of
from cache_schema.store.part_digests import (
    LAYOUT,
    chunk_keys,
    is_unsealed,
    layout_damage,
    metadata_keys,
    read_record,
    record_digest_key,
    record_key,
)
from cache_schema.store.safe_open import entries_below
from cache_schema.system_files import is_of_the_system
from cache_schema.writer import (
    INDEX,
    MANIFEST,
    load_manifest,
    load_plan,
    missing_units,
    part_folder,
    restore_or_delete,
)


@dataclass(frozen=True, slots=True)
class Damage:
    """One stored object that is not what was written.

    `part` is set when sealing that part again repairs it, `unit` too when that work unit must be
    computed for it; `laid_out` when it follows from the plan and the clips; `stray` for what is no
    part of a cache.
    """

    object: str
    problem: str
    part: str | None = None
    unit: int | None = None
    rows: str = ""
    laid_out: bool = False
    stray: bool = False

    @property
    def lost(self) -> bool:
        """Whether nothing makes the object again, so that a copy is needed."""
        return self.part is None and not (self.laid_out or self.stray)

    def __str__(self) -> str:
        """One line: object, unit and rows, problem."""
        where = f" (work unit {self.unit}, {self.rows})" if self.unit is not None else ""
        return f"{self.object}{where}: {self.problem}"


def verify(root: CachePath) -> list[Damage]:
    """Compare every object of a cache with the digests in its records.

    Returns
    -------
    list of Damage
        Empty when the cache is whole.

    Raises
    ------
    CacheError
        If there is no cache, a newer one, or one with links among its documents.
    """
    try:
        manifest = load_manifest(root)
    except CacheError as error:
        # Neither is damage to the manifest, and a repair is rejected as this is.
        if error.kind in ("missing", "too_new", "link"):
            raise
        return [Damage(MANIFEST, _reason(root, error))]
    known = manifest.clip_table | {"zarr.json": manifest.root_group}
    found = [Damage(key, what, laid_out=True) for key, what in differing_objects(root, known)]
    for entry in manifest.parts:
        found += _verify_part(root, entry)
    if objects_of(root).lists:
        found += _unknown_objects(root, manifest)
    return found


def _reason(root: CachePath, error: CacheError) -> str:
    """Give what is wrong with a document in a line, without the way out that ends the message."""
    problems = str(error).removesuffix(f"\n{restore_or_delete(root)}").splitlines()
    return "; ".join(line.removeprefix("  - ").rstrip(".") for line in problems)


def _unknown_objects(root: CachePath, manifest: Manifest) -> Iterator[Damage]:
    """What lies there that the manifest does not name; a part without records is a kill's leftover."""
    for name, records in unnamed_parts(root, manifest).items():
        if records:
            yield Damage(
                f"parts/{name}",
                f"holds {records} commit records, but {MANIFEST} (generation {manifest.generation}) "
                "does not name it: an older one was put back",
            )
    for key in sorted(_unexpected_objects(root, manifest)):
        yield Damage(key, "is not named by the manifest; delete it", stray=True)


def _unexpected_objects(root: CachePath, manifest: Manifest) -> Iterator[str]:
    """Key of each object that no document names, whatever it is; of a folder its own alone."""
    named = {MANIFEST, "zarr.json", *manifest.clip_table}
    unknown = {f"parts/{name}" for name in unnamed_parts(root, manifest)}
    for entry in manifest.parts:
        try:
            named |= _named_by_part(root, entry)
        except CacheError:  # its plan or index is damaged, which is reported elsewhere
            unknown.add(f"parts/{entry.name}")
    folders = {"clips", *(f"parts/{entry.name}/commits" for entry in manifest.parts)}
    folders |= {key[:end] for key in named for end, sign in enumerate(key) if sign == "/"}
    if not isinstance(root, Path):
        objects = objects_of(root)
        for key in objects.list():
            known = key in named or key.endswith(PARTIAL_SUFFIX)
            if (
                key in folders
            ):  # listed for an object "key/", which a store's console makes of a folder
                known = not objects.exists(key)
            if not known and not any(key.startswith(f"{part}/") for part in unknown):
                yield key
        return
    passed: set[str] = set()
    for key, found in entries_below(root, large=True):
        folder, plain = found.is_dir(follow_symlinks=False), found.is_file(follow_symlinks=False)
        left_by_a_kill = key.endswith(PARTIAL_SUFFIX) and (plain or folder)
        of_the_system = plain and is_of_the_system(key.rpartition("/")[2])
        if key.rpartition("/")[0] in passed or key in unknown or left_by_a_kill or of_the_system:
            passed |= {key} if folder else set()
        elif key not in (folders if folder else named) and os.path.lexists(found.path):
            passed |= {key} if folder else set()
            yield key


def _named_by_part(root: CachePath, entry: PartEntry) -> set[str]:
    """Keys of all that a part may hold, finished or not."""
    plan, objects = load_plan(root, entry), objects_of(part_folder(root, entry.name))
    named = {*metadata_keys(plan), INDEX, LAYOUT}
    there = objects.exists(INDEX)
    if entry.index_sha256 is not None or there:
        data = objects.get(INDEX) if there else b""
        named |= parse(PartIndex, data, INDEX).objects.keys()
    for unit in range(len(plan.units.rows)):
        named |= {record_key(unit), record_digest_key(unit)}
        named |= {*chunk_keys(plan, unit).values()}
    return {f"parts/{entry.name}/{key}" for key in named}


def _verify_part(root: CachePath, entry: PartEntry) -> Iterator[Damage]:
    folder, prefix = part_folder(root, entry.name), f"parts/{entry.name}/"
    try:
        plan = load_plan(root, entry)
    except CacheError as error:
        yield Damage(f"{prefix}plan.json", _reason(root, error))
        return
    if entry.index_sha256 is not None:
        yield from _verify_index(root, entry)
    elif load_manifest(root).sealed(entry.name):
        return  # by a writer, since the manifest was read
    elif objects_of(folder).exists(INDEX) and not is_unsealed(folder):
        yield Damage(
            MANIFEST, f"records {entry.name} as unfinished, which was sealed: it is an older one",
            entry.name,
        )  # fmt: skip
    for key, problem in layout_damage(folder, plan):
        yield Damage(f"{prefix}{key}", problem, laid_out=True)
    records = sealed_records(root, entry)
    missing = set(missing_units(root, plan))
    for unit in range(len(plan.units.rows)):
        if unit not in missing:
            yield from _verify_unit(folder, plan, unit, records.get(unit))
        elif entry.index_sha256 is not None:
            yield _unit_damage(plan, unit, record_key(unit), "is missing")


def _verify_index(root: CachePath, entry: PartEntry) -> Iterator[Damage]:
    folder, prefix = part_folder(root, entry.name), f"parts/{entry.name}/"
    objects = objects_of(folder)
    data = get_recorded(objects, INDEX, entry.index_sha256) if objects.exists(INDEX) else b""
    if sha256(data) != entry.index_sha256:
        problem = f"differs from {MANIFEST}'s digest" if data else "is missing or empty"
        yield Damage(f"{prefix}{INDEX}", problem, entry.name)
        return
    try:
        recorded = parse(PartIndex, data, INDEX).objects
    except CacheError as error:
        yield Damage(f"{prefix}{INDEX}", str(error), entry.name)
        return
    for key, problem in differing_objects(folder, recorded):
        if key.startswith("index/"):
            yield Damage(f"{prefix}{key}", problem, entry.name)
        else:
            yield Damage(f"{prefix}{key}", problem, laid_out=True)


def sealed_records(root: CachePath, entry: PartEntry) -> dict[int, str]:
    """Digest of each unit's record as the sealed index has it; empty when it cannot be read."""
    if entry.index_sha256 is None:
        return {}
    try:
        return dict(enumerate(SealedPart(root, entry).record_digests()))
    except CacheError:
        return {}


def _verify_unit(
    folder: CachePath, plan: PartPlan, unit: int, sealed: str | None
) -> Iterator[Damage]:
    record, problems = read_record(folder, plan, unit, sealed)
    if record is None:
        yield _unit_damage(plan, unit, record_key(unit), "; ".join(problems))
        return
    chunks = {key: record.objects[signal].sha256 for signal, key in chunk_keys(plan, unit).items()}
    for key, problem in differing_objects(folder, chunks):
        yield _unit_damage(plan, unit, key, problem)


def _unit_damage(plan: PartPlan, unit: int, key: str, problem: str) -> Damage:
    first, rows = plan.units.first_clip[unit], plan.units.rows[unit]
    where = f"view {plan.units.view[unit]}, clips {first} to {first + rows - 1}"
    where += f", {teacher_label(plan.teacher_name)}" if plan.teacher_name else ""
    return Damage(f"parts/{plan.name}/{key}", problem, plan.name, unit, where)

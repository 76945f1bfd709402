"""``--repair``: recompute the damaged work units of a cache, to the bytes that were sealed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cache_schema.errors import CacheError, bullet_list
from cache_schema.integrity.cleanup import remove_leftovers
from cache_schema.integrity.rebuild import restore_part, restore_root
from cache_schema.integrity.verify import Damage, sealed_records, verify
from cache_schema.metadata import CommitRecord, Manifest, PartPlan
from cache_schema.signal_names import command_of
from cache_schema.store.address import Address, CachePath
from cache_schema.store.files import sha256
from cache_schema.store.lock import write_lock
from cache_schema.store.objects import objects_of
from cache_schema.store.part_digests import record_key
from cache_schema.writer import load_manifest, load_plans, part_key, restore_or_delete, seal
from pipeline.precompute.precompute import OnStart, OnUnit, Precompute
from pipeline.precompute.staleness import check_same_recipe


def repair_cache(precompute: Precompute, on_start: OnStart, on_unit: OnUnit) -> list[Damage]:
    """Recompute the damaged units of this teacher; returns the damage that was found.

    Raises
    ------
    CacheError
        Kind ``"damaged"`` when a document is damaged that cannot be made again, or, with the rest
        repaired, when objects of other teachers are, or some are no part of a cache.
    """
    out = precompute.out
    with write_lock(out):
        remove_leftovers(out)
        found = verify(out)
        _check_repairable(out, found)
        manifest = load_manifest(out)
        plans = load_plans(out, manifest)
        check_same_recipe(precompute.inputs, manifest, plans)
        if any(damage.laid_out for damage in found):
            _restore(precompute, manifest, plans)
        others: list[PartPlan] = []
        for plan in plans:
            damages = [damage for damage in found if damage.part == plan.name]
            if damages and plan.teacher_name != precompute.inputs.teacher_name:
                others.append(plan)
            elif damages:
                _repair_part(precompute, manifest, plan, damages, on_start, on_unit)
        _check_other_teachers(out, found, others)
        _check_strays(out, found)
    return found


def _restore(precompute: Precompute, manifest: Manifest, plans: Sequence[PartPlan]) -> None:
    out = precompute.out
    restore_root(out, manifest, precompute.inputs.clips)
    for entry, plan in zip(manifest.parts, plans, strict=True):
        restore_part(out, entry, plan)


def _repair_part(
    precompute: Precompute,
    manifest: Manifest,
    plan: PartPlan,
    damages: Sequence[Damage],
    on_start: OnStart,
    on_unit: OnUnit,
) -> None:
    out = precompute.out
    stored = objects_of(out)
    units = sorted({damage.unit for damage in damages if damage.unit is not None})
    entry = next(entry for entry in manifest.parts if entry.name == plan.name)
    if entry.index_sha256 is None:
        # Where no index vouches for the chunks, a record must not outlive those it names.
        for unit in units:
            stored.delete(part_key(plan.name, record_key(unit)))
    if isinstance(out, Address):
        # What is put once is not replaced there: the damaged object would be in the way.
        for damage in damages:
            stored.delete(damage.object)
    on_start(plan, units)
    sealed = sealed_records(out, entry)
    for record in precompute.compute(plan, units) if units else ():
        on_unit(plan, record)
        _check_repaired_record(out, record, sealed)
    if any(damage.unit is None for damage in damages):
        seal(out, plan)


def _check_repairable(out: CachePath, found: Sequence[Damage]) -> None:
    lost = [str(damage) for damage in found if damage.lost]
    if lost:
        raise CacheError(
            f"{out}: {len(lost)} object(s) are damaged\n{bullet_list(lost)}\n{restore_or_delete(out)}",
            kind="damaged",
        )


def _check_other_teachers(
    out: CachePath, found: Sequence[Damage], others: Sequence[PartPlan]
) -> None:
    if others:
        left = [str(d) for d in found if d.part in {plan.name for plan in others}]
        commands = sorted({command_of(plan.teacher_name) for plan in others})
        raise CacheError(
            f"{out}: {len(found) - len(left)} object(s) repaired, {len(left)} of another teacher's are "
            f"damaged\n{bullet_list(left)}\nRepeat with --repair {' and '.join(commands)}",
            kind="damaged",
        )


def _check_strays(out: CachePath, found: Sequence[Damage]) -> None:
    """Objects that nobody wrote are not deleted: their origin is unknown."""
    strays = [str(damage) for damage in found if damage.stray]
    if strays:
        raise CacheError(
            f"{out}: {len(found) - len(strays)} object(s) repaired, {len(strays)} are no part of it\n"
            f"{bullet_list(strays)}\nDelete them: no reader looks at them.",
            kind="damaged",
        )


def _check_repaired_record(out: CachePath, record: CommitRecord, sealed: Mapping[int, str]) -> None:
    """A repair must give what was sealed; another result is dropped, so that it can be repeated."""
    wanted, found = sealed.get(record.unit), sha256(record.encode())
    if wanted not in (None, found):
        objects_of(out).delete(part_key(record.part, record_key(record.unit)))
        raise CacheError(
            f"work unit {record.unit} of {record.part} now gives another result: sealed as "
            f"{(wanted or '')[:12]}, recomputed {found[:12]}. Restore the sources and libraries it was "
            "made from and repeat --repair, or make a new cache with another --out.",
            kind="stale",
        )

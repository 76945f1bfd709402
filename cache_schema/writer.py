"""Write a cache: lay out parts, commit work units, seal.

The order makes a kill harmless. A new cache and a new part are built aside and renamed; a unit's
chunks are on disk before its record; the index is complete before the manifest names it. What has
no record, or is not named by the manifest, does not exist.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cache_schema.clip import Clip
from cache_schema.clip_table import FOLDER as CLIPS
from cache_schema.clip_table import write_clip_table
from cache_schema.documents import parse
from cache_schema.encodings import top_k, u8log
from cache_schema.errors import MAX_LISTED, CacheError, bullet_list
from cache_schema.folder_kinds import instead_of_cache
from cache_schema.metadata import (
    CommitRecord,
    CorpusFacts,
    Manifest,
    PartEntry,
    PartIndex,
    PartPlan,
    Quarantine,
    SignalSpec,
    SignedManifest,
    StoredObject,
    parse_manifest,
)
from cache_schema.store.arrays import Array, create_array, create_group, write_chunk, write_whole
from cache_schema.store.files import (
    PARTIAL_SUFFIX,
    keys_below,
    remove_partials,
    sha256,
    sync,
    write_atomic,
)
from cache_schema.store.part_digests import (
    PLAN,
    UNSEALED,
    layout_damage,
    metadata_keys,
    read_record,
    record_digest_key,
    record_key,
    remove_unsealed_digests,
    write_layout_digests,
)
from cache_schema.store.safe_open import check_no_links, read_plain

MANIFEST = "manifest.json"
INDEX = "index/index.json"


@dataclass(frozen=True, slots=True)
class UnitRow:
    """What became of one view of one clip: its signals, or the reason it is quarantined."""

    signals: Mapping[str, Array] = field(default_factory=dict)
    reason: str | None = None
    source_sha256: str = ""
    gain: float = 1.0


def part_folder(root: Path, name: str) -> Path:
    """Folder of a part."""
    return root / "parts" / name


def record_path(root: Path, part: str, unit: int) -> Path:
    """Place of a unit's commit record."""
    return part_folder(root, part) / record_key(unit)


def load_manifest(root: Path) -> Manifest:
    """Read the root manifest.

    Raises
    ------
    CacheError
        ``"missing"`` when there is no cache, otherwise as :func:`parse_manifest`.
    """
    path = root / MANIFEST
    if not path.is_file():
        if other := instead_of_cache(root):
            raise CacheError(other, kind="missing")
        what = "has no manifest.json, so it is not a cache" if root.exists() else "does not exist"
        out = "NEW.zarr" if root.exists() else root
        raise CacheError(
            f"{root} {what}. Make one: precompute-teacher CORPUS --teacher TEACHER --out {out}",
            kind="missing",
        )
    check_no_links(root, large=False)
    return parse_manifest(read_plain(path), f"{root}/{MANIFEST}")


def load_plan(root: Path, entry: PartEntry) -> PartPlan:
    """Read the plan of a part and check it against the manifest's digest."""
    path = part_folder(root, entry.name) / PLAN
    if not path.is_file():
        raise CacheError(f"{path} is missing, but the manifest names it.", kind="damaged")
    data = read_plain(path)
    if sha256(data) != entry.plan_sha256:
        raise CacheError(
            f"{path} is damaged: the manifest records {entry.plan_sha256[:12]}, its content is "
            f"{sha256(data)[:12]}.",
            kind="damaged",
        )
    return parse(PartPlan, data, str(path))


def load_plans(root: Path, manifest: Manifest) -> list[PartPlan]:
    """Read the plans of all parts, in the manifest's order."""
    plans = [load_plan(root, entry) for entry in manifest.parts]
    check_plans(root, manifest, plans)
    return plans


def check_plans(root: Path, manifest: Manifest, plans: Sequence[PartPlan]) -> None:
    """Refuse plans over other clips than the manifest's, as nobody writes but by hand."""
    problems = [f"{plan.name}: {what}" for plan in plans for what in manifest.plan_problems(plan)]
    if problems:
        raise CacheError(
            f"{root}: its plans do not fit its clips; {len(problems)} problem(s)\n"
            f"{bullet_list(problems, MAX_LISTED)}",
            kind="damaged",
        )


def create_cache(
    root: Path, clips: Sequence[Clip], corpus: CorpusFacts, sample_rate_hz: int, plan: PartPlan
) -> None:
    """Lay out a new cache with its clip table and its first part, all or nothing."""
    with _built_atomically(root) as draft:
        create_root(draft, clips, corpus.classes)
        create_part(part_folder(draft, plan.name), plan)
        table = {
            f"{CLIPS}/{key}": _digest(draft / CLIPS / key) for key in keys_below(draft / CLIPS)
        }
        manifest = Manifest(
            generation=1,
            corpus=corpus,
            sample_rate_hz=sample_rate_hz,
            clip_table=table | {"parts/zarr.json": _digest(draft / "parts" / "zarr.json")},
            root_group=_digest(draft / "zarr.json"),
            parts=[PartEntry(name=plan.name, plan_sha256=plan.digest)],
        )
        write_atomic(draft / MANIFEST, SignedManifest.of(manifest).encode())


def add_part(root: Path, plan: PartPlan) -> None:
    """Add a part to a cache; no existing object but the manifest is touched."""
    with _built_atomically(part_folder(root, plan.name)) as draft:
        create_part(draft, plan)
    manifest = load_manifest(root)
    entry = PartEntry(name=plan.name, plan_sha256=plan.digest)
    _replace_manifest(root, manifest, [*manifest.parts, entry])


def missing_units(root: Path, plan: PartPlan) -> list[int]:
    """Work units of a part without a commit record."""
    folder = part_folder(root, plan.name) / "commits"
    done = set(os.listdir(folder)) if folder.is_dir() else set()
    return [unit for unit in range(len(plan.units.rows)) if f"{unit:06d}.json" not in done]


def write_unit(root: Path, plan: PartPlan, unit: int, rows: Sequence[UnitRow]) -> CommitRecord:
    """Write a unit's chunks, then its record. Repeating it with equal rows changes nothing.

    Examples
    --------
    `root` holds a cache laid out for five units, of which the first has three rows. A unit is there
    from the moment that its record is, and a killed run goes on with those that lack one:

    >>> missing_units(root, plan)
    [0, 1, 2, 3, 4]
    >>> record = write_unit(root, plan, 0, rows)
    >>> missing_units(root, plan)
    [1, 2, 3, 4]

    Rows of different lengths lie in one chunk one after the other; the record has their lengths,
    and the size and digest of the chunk, padded to 20 values of 2 bytes, with a checksum of 4:

    >>> record.lengths["temporal_attention"]
    [3, 4, 5]
    >>> record.objects["temporal_attention"].bytes
    44
    """
    folder = part_folder(root, plan.name)
    lengths: dict[str, list[int]] = {}
    objects: dict[str, StoredObject] = {}
    for spec in plan.signals:
        values = [row.signals.get(spec.name) if row.reason is None else None for row in rows]
        if spec.dtype == "uint16":
            values = _top_k(plan, spec, values)
        packed = _pack_fixed(spec, values) if spec.layout == "fixed" else _pack_ragged(spec, values)
        objects[spec.name] = write_chunk(folder / spec.name, unit, packed)
        if spec.layout != "fixed":
            lengths[spec.name] = [0 if v is None else _entries(spec, v) for v in values]
    record = CommitRecord(
        part=plan.name,
        plan_sha256=plan.digest,
        unit=unit,
        rows=len(rows),
        lengths=lengths,
        quarantine=[Quarantine(row=i, reason=r.reason) for i, r in enumerate(rows) if r.reason],
        sources=[row.source_sha256 for row in rows],
        gains={str(i): row.gain for i, row in enumerate(rows) if row.gain != 1.0},
        objects=objects,
    )
    data = record.encode()
    if (folder / UNSEALED).is_dir():
        write_atomic(folder / record_digest_key(unit), sha256(data).encode())
    write_atomic(record_path(root, plan.name, unit), data)
    return record


def check_layout(root: Path, plan: PartPlan) -> None:
    """Stop before units are written into arrays that are not what was laid out.

    Raises
    ------
    CacheError
        Kind ``"damaged"``, naming the objects.
    """
    found = layout_damage(part_folder(root, plan.name), plan)
    if found:
        raise CacheError(
            f"{len(found)} object(s) of {plan.name} of {root} are not as they were laid out\n"
            + bullet_list(f"{key} {problem}" for key, problem in found)
            + "\nRepeat the command with --repair",
            kind="damaged",
        )


def seal(root: Path, plan: PartPlan) -> None:
    """Close a part whose units are all committed: write its index, then name it in the manifest.

    Raises
    ------
    CacheError
        ``"unfinished"`` when units lack a record; ``"stale"`` when the part was sealed before and
        its units no longer give the same index (a repair on other libraries or hardware).
    """
    missing = missing_units(root, plan)
    if missing:
        raise CacheError(
            f"{plan.name} of {root} lacks {len(missing)} of {len(plan.units.rows)} work units, first "
            f"{missing[0]}. Repeat the same precompute-teacher command.",
            kind="unfinished",
        )
    check_layout(root, plan)
    folder = part_folder(root, plan.name)
    remove_partials(folder)
    manifest = load_manifest(root)
    before = next(entry.index_sha256 for entry in manifest.parts if entry.name == plan.name)
    with _built_atomically(folder / "index") as draft:
        create_group(draft)
        for name, values in index_arrays(root, plan).items():
            write_whole(draft / name, values)
        objects = {f"index/{key}": _digest(draft / key) for key in keys_below(draft)}
        objects |= {key: _digest(folder / key) for key in metadata_keys(plan)}
        index = PartIndex(part=plan.name, objects=objects).encode()
        if before not in (None, sha256(index)):
            raise CacheError(
                f"{plan.name} of {root} was sealed as {(before or '')[:12]}; its units now give "
                f"{sha256(index)[:12]}: recomputed from other sources, on another machine or with "
                "other libraries; or its index is damaged and so is a record or a zarr.json. Restore "
                "those (the index from a copy), or make a new cache with another --out.",
                kind="stale",
            )
        write_atomic(draft / "index.json", index)
        shutil.rmtree(folder / "index", ignore_errors=True)
    entries = [
        entry.model_copy(update={"index_sha256": sha256(index)})
        if entry.name == plan.name
        else entry
        for entry in manifest.parts
    ]
    if before is None:
        _replace_manifest(root, manifest, entries)
    remove_unsealed_digests(folder)


def index_arrays(root: Path, plan: PartPlan) -> dict[str, Array]:
    """The sealed index of a part, computed from its commit records.

    Per unit and signal the size, trailer and digest of the object; per unit the digest of its
    record; per row (on the grid of `unit_rows`) the ragged lengths and whether it is usable.
    """
    units, names = len(plan.units.rows), [signal.name for signal in plan.signals]
    ragged = [signal.name for signal in plan.signals if signal.layout != "fixed"]
    arrays: dict[str, Array] = {
        "object_bytes": np.zeros((units, len(names)), np.uint64),
        "object_crc32c": np.zeros((units, len(names), 4), np.uint8),
        "object_sha256": np.zeros((units, len(names), 32), np.uint8),
        "record_sha256": np.zeros((units, 32), np.uint8),
        "row_lengths": np.zeros((units * plan.unit_rows, max(len(ragged), 1)), np.uint32),
        "row_usable": np.zeros(units * plan.unit_rows, np.uint8),
    }
    for unit in range(units):
        record = _trusted_record(root, plan, unit)
        arrays["record_sha256"][unit] = _hex_bytes(_digest(record_path(root, plan.name, unit)))
        for column, name in enumerate(names):
            stored = record.objects[name]
            arrays["object_bytes"][unit, column] = stored.bytes
            arrays["object_crc32c"][unit, column] = _hex_bytes(stored.crc32c)
            arrays["object_sha256"][unit, column] = _hex_bytes(stored.sha256)
        rows = slice(unit * plan.unit_rows, unit * plan.unit_rows + record.rows)
        for column, name in enumerate(ragged):
            arrays["row_lengths"][rows, column] = record.lengths[name]
        usable = np.ones(record.rows, np.uint8)
        usable[[entry.row for entry in record.quarantine]] = 0
        arrays["row_usable"][rows] = usable
    return arrays


def _trusted_record(root: Path, plan: PartPlan, unit: int) -> CommitRecord:
    record, problems = read_record(part_folder(root, plan.name), plan, unit)
    if record is None:
        raise CacheError(
            f"the record of work unit {unit} of {plan.name} cannot be trusted; {len(problems)} "
            f"problem(s)\n{bullet_list(problems)}\nRecompute it: repeat the precompute-teacher "
            "command with "
            "--repair",
            kind="damaged",
        )
    return record


def _hex_bytes(text: str) -> Array:
    return np.frombuffer(bytes.fromhex(text), np.uint8)


def _digest(path: Path) -> str:
    return sha256(read_plain(path))


def _entries(spec: SignalSpec, value: Array) -> int:
    return int(value.size) if spec.layout == "square" else len(value)


def _top_k(plan: PartPlan, spec: SignalSpec, values: Sequence[Array | None]) -> list[Array | None]:
    kept, task = top_k.k_of_width(*spec.row_shape), (plan.teacher or {})["task"]
    return [None if v is None else top_k.encode(v, kept, task) for v in values]


def _pack_fixed(spec: SignalSpec, values: Sequence[Array | None]) -> Array:
    fill = np.nan if np.dtype(spec.dtype).kind == "f" else 0
    packed = np.full((len(values), *spec.row_shape), fill, spec.dtype)
    for row, value in enumerate(values):
        if value is not None:
            packed[row] = value
    return packed


def _pack_ragged(spec: SignalSpec, values: Sequence[Array | None]) -> Array:
    kept = [v.reshape(-1) if spec.layout == "square" else v for v in values if v is not None]
    empty = np.zeros((0, *spec.row_shape), spec.dtype)
    encode = u8log.encode if spec.dtype == "uint8" else lambda v: v.astype(spec.dtype)
    return np.concatenate([empty, *(encode(v) for v in kept)])


def create_root(folder: Path, clips: Sequence[Clip], classes: Sequence[str]) -> None:
    """Write what does not change with the parts: groups and clip table."""
    create_group(folder)
    write_clip_table(folder, clips, classes)
    create_group(folder / "parts")


def create_part(folder: Path, plan: PartPlan) -> None:
    """Write the plan of a part, its arrays without chunks, and what vouches for them."""
    create_group(folder)
    for spec in plan.signals:
        shape = (len(plan.units.rows) * spec.chunk_length, *spec.row_shape)
        create_array(folder / spec.name, shape, spec.chunk_shape, spec.dtype, codec=plan.codec)
    (folder / "commits").mkdir()
    write_atomic(folder / PLAN, plan.encode())
    write_layout_digests(folder, plan)


def _replace_manifest(root: Path, manifest: Manifest, parts: list[PartEntry]) -> None:
    update = {"parts": parts, "generation": manifest.generation + 1}
    replaced = manifest.model_copy(update=update)
    write_atomic(root / MANIFEST, SignedManifest.of(replaced).encode())


def draft_path(target: Path) -> Path:
    """Where a folder is built before it is renamed into place."""
    return target.with_name(f"{target.name}.draft{PARTIAL_SUFFIX}")


@contextmanager
def _built_atomically(target: Path) -> Iterator[Path]:
    """Build a folder beside its place; rename it there when the block ends without an error."""
    draft = draft_path(target)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    for path in [draft, *draft.rglob("*")]:
        sync(path)
    draft.rename(target)
    sync(target.parent)

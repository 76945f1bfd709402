"""Write a cache: lay out parts, commit work units, seal.

The order makes a kill harmless. A new cache and a new part are built aside and renamed, on a store
under their final keys before the manifest names them; a unit's chunks are there before its record, the
index before the manifest names it. What has no record, or is not named by the manifest, does not exist.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cache_schema.clip import Clip
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
from cache_schema.store.address import WEB, Address, CachePath
from cache_schema.store.arrays import (
    Array,
    Put,
    create_array,
    create_group,
    write_chunk,
    write_whole,
)
from cache_schema.store.files import (
    PARTIAL_SUFFIX,
    check_in_place,
    named_in_errors,
    remove_partials,
    sha256,
    sync,
)
from cache_schema.store.objects import (
    ObjectChanged,
    ahead,
    differing_objects,
    get_recorded,
    objects_of,
)
from cache_schema.store.part_digests import (
    LAYOUT,
    PLAN,
    chunk_keys,
    is_unsealed,
    layout_damage,
    metadata_keys,
    read_record,
    record_digest_key,
    record_key,
    remove_unsealed_digests,
)
from cache_schema.text import shell_word

MANIFEST = "manifest.json"
INDEX = "index/index.json"


@dataclass(frozen=True, slots=True)
class UnitRow:
    """What became of one view of one clip: its signals, or the reason it is quarantined."""

    signals: Mapping[str, Array] = field(default_factory=dict)
    reason: str | None = None
    source_sha256: str = ""
    gain: float = 1.0


def part_folder(root: CachePath, name: str) -> CachePath:
    """Folder of a part."""
    return root / "parts" / name


def part_key(name: str, key: str) -> str:
    """Key of an object of a part, below the cache."""
    return f"parts/{name}/{key}"


def load_manifest(root: CachePath) -> Manifest:
    """Read the root manifest.

    Raises
    ------
    CacheError
        ``"missing"`` when there is no cache, otherwise as :func:`parse_manifest`.
    """
    if isinstance(root, Path) and not (root / MANIFEST).is_file():
        raise _no_cache(root)
    objects, where = objects_of(root), f"{root}/{MANIFEST}"
    objects.check_plain()
    try:
        return parse_manifest(objects.get(MANIFEST), where)
    except FileNotFoundError:
        raise _no_cache(root) from None
    except CacheError:  # what fails in transit is right the second time
        with _way_out(root):
            return parse_manifest(objects.get(MANIFEST), where)


@contextmanager
def _way_out(root: CachePath) -> Iterator[None]:
    """Add what is left to do to an error of a document that nothing makes again."""
    try:
        yield
    except CacheError as error:
        if error.kind != "damaged":
            raise
        raise CacheError(f"{error}\n{restore_or_delete(root)}", kind=error.kind) from None


def restore_or_delete(root: CachePath) -> str:
    """Explain what is left to do with a cache whose manifest or plan is damaged."""
    if isinstance(root, Address) and root.scheme in WEB:
        return (
            f"A web server is only read: look at what it answers for {root / MANIFEST} (a page to log "
            "in, for one), or read another copy of the cache"
        )
    return (
        f"--repair cannot make this again. Put it back from a copy of the cache; or delete {root}, and "
        "repeat the precompute-teacher command without --repair"
    )


def _no_cache(root: CachePath) -> CacheError:
    if isinstance(root, Path) and (other := instead_of_cache(root)):
        return CacheError(other, kind="missing")
    there = root.exists() if isinstance(root, Path) else not objects_of(root).lists
    what = "does not exist"
    if there or not isinstance(root, Path):
        what = f"has no {MANIFEST}, so it is not a cache"
    return CacheError(
        f"{root} {what}. Make one: precompute-teacher CORPUS --teacher TEACHER --out "
        f"{'NEW.zarr' if there else shell_word(root)}",
        kind="missing",
    )


def load_plan(root: CachePath, entry: PartEntry) -> PartPlan:
    """Read the plan of a part and check it against the manifest's digest."""
    with _way_out(root):
        return _read_plan(root, entry)


def _read_plan(root: CachePath, entry: PartEntry) -> PartPlan:
    where = root / "parts" / entry.name / PLAN
    try:
        data = get_recorded(objects_of(root), part_key(entry.name, PLAN), entry.plan_sha256)
    except FileNotFoundError:
        raise CacheError(
            f"{where} is missing, but the manifest names it.", kind="damaged"
        ) from None
    if sha256(data) != entry.plan_sha256:
        raise CacheError(
            f"{where} is damaged: the manifest records {entry.plan_sha256[:12]}, its content is "
            f"{sha256(data)[:12]}.",
            kind="damaged",
        )
    return parse(PartPlan, data, str(where))


def load_plans(root: CachePath, manifest: Manifest) -> list[PartPlan]:
    """Read the plans of all parts, in the manifest's order."""
    plans = [load_plan(root, entry) for entry in manifest.parts]
    check_plans(root, manifest, plans)
    return plans


def check_plans(root: CachePath, manifest: Manifest, plans: Sequence[PartPlan]) -> None:
    """Reject plans over other clips than the manifest's, as nobody writes but by hand."""
    problems = [f"{plan.name}: {what}" for plan in plans for what in manifest.plan_problems(plan)]
    if problems:
        raise CacheError(
            f"{root}: its plans do not fit its clips; {len(problems)} problem(s)\n"
            f"{bullet_list(problems, MAX_LISTED)}\n{restore_or_delete(root)}",
            kind="damaged",
        )


def create_cache(
    root: CachePath, clips: Sequence[Clip], corpus: CorpusFacts, sample_rate_hz: int, plan: PartPlan
) -> None:
    """Lay out a new cache with its clip table and its first part, all or nothing.

    Raises
    ------
    ObjectChanged
        If another writer has laid out a cache there meanwhile, on a store.
    """
    digests: dict[str, str] = {}
    with _built_atomically(root) as put:

        def noted(key: str, data: bytes) -> None:
            put(key, data)
            digests[key] = sha256(data)

        create_root(noted, clips, corpus.classes)
        create_part(lambda key, data: put(part_key(plan.name, key), data), plan)
        manifest = Manifest(
            generation=1,
            corpus=corpus,
            sample_rate_hz=sample_rate_hz,
            root_group=digests.pop("zarr.json"),
            clip_table=digests,
            parts=[PartEntry(name=plan.name, plan_sha256=plan.digest)],
        )
        put(MANIFEST, SignedManifest.of(manifest).encode())


def add_part(root: CachePath, plan: PartPlan) -> None:
    """Add a part to a cache; no existing object but the manifest is touched.

    Raises
    ------
    ObjectChanged
        If another writer has changed the manifest meanwhile, on a store.
    """
    manifest, folder = load_manifest(root), part_folder(root, plan.name)
    if any(entry.name == plan.name for entry in manifest.parts):
        raise ObjectChanged
    if isinstance(root, Path) and _is_unnamed_plan(root / "parts" / plan.name):
        remove_part_folder(root, plan.name)
    with _built_atomically(folder) as put:
        create_part(put, plan)
    entry = PartEntry(name=plan.name, plan_sha256=plan.digest)
    _replace_manifest(root, manifest, [*manifest.parts, entry])


def _is_unnamed_plan(folder: Path) -> bool:
    """Whether a writer was killed before the manifest named its part: then it has no units."""
    return folder.is_dir() and not any(folder.glob("commits/*.json"))


def withdraw_parts(root: Path, names: Collection[str]) -> None:
    """Take parts out of a cache on a disk again; call it only under the lock."""
    manifest = load_manifest(root)
    kept = [entry for entry in manifest.parts if entry.name not in names]
    _replace_manifest(root, manifest, kept)
    for name in names:
        remove_part_folder(root, name)


def remove_part_folder(root: Path, name: str) -> None:
    """Remove the folder of a part that the manifest does not name; a kill leaves all, or a draft."""
    folder = root / "parts" / name
    draft = draft_path(folder)
    shutil.rmtree(draft, ignore_errors=True)
    folder.rename(draft)
    shutil.rmtree(draft)


def missing_units(root: CachePath, plan: PartPlan) -> list[int]:
    """Work units of a part without a commit record.

    A store's list may lack the latest: what is not in it is looked for by its key.
    """
    objects, total = objects_of(part_folder(root, plan.name)), len(plan.units.rows)
    listed = set(objects.list("commits")) if objects.lists else set[str]()
    units = [unit for unit in range(total) if record_key(unit) not in listed]
    if objects.at_once == 1:
        return units
    found = ahead(objects.exists, map(record_key, units), objects.at_once)
    return [unit for unit, there in zip(units, found, strict=True) if not there]


def incomplete_units(root: CachePath, plan: PartPlan) -> list[int]:
    """Work units of a part that lack their commit record or a chunk.

    A unit's record is written last; but a copy that was made meanwhile may have it without a chunk.
    """
    missing = {*missing_units(root, plan)}
    objects = objects_of(part_folder(root, plan.name))
    listed = set[str]()
    if objects.lists:
        listed.update(key for spec in plan.signals for key in objects.list(spec.name))

    def is_whole(unit: int) -> bool:
        return all(key in listed or objects.exists(key) for key in chunk_keys(plan, unit).values())

    return [u for u in range(len(plan.units.rows)) if u in missing or not is_whole(u)]


def write_unit(root: CachePath, plan: PartPlan, unit: int, rows: Sequence[UnitRow]) -> CommitRecord:
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
    if isinstance(root, Path):
        check_in_place(root / MANIFEST, "cache")
    objects_of_part = objects_of(part_folder(root, plan.name))
    lengths: dict[str, list[int]] = {}
    objects: dict[str, StoredObject] = {}
    for spec in plan.signals:
        values = [row.signals.get(spec.name) if row.reason is None else None for row in rows]
        if spec.dtype == "uint16":
            values = _top_k(plan, spec, values)
        packed = _pack_fixed(spec, values) if spec.layout == "fixed" else _pack_ragged(spec, values)
        objects[spec.name] = write_chunk(objects_of_part, unit, spec, plan.codec, packed)
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
    if is_unsealed(part_folder(root, plan.name)):
        objects_of_part.put_once(record_digest_key(unit), sha256(data).encode())
    objects_of_part.put_once(record_key(unit), data)
    return record


def check_layout(root: CachePath, plan: PartPlan) -> None:
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


def seal(root: CachePath, plan: PartPlan) -> None:
    """Close a part whose units are all committed: write its index, then name it in the manifest.

    Raises
    ------
    CacheError
        ``"unfinished"`` when units lack a record; ``"stale"`` when the part was sealed before and
        its units no longer give the same index (a repair on other libraries or hardware).
    """
    missing = incomplete_units(root, plan)
    if missing:
        raise CacheError(
            f"{plan.name} of {root} lacks {len(missing)} of {len(plan.units.rows)} work units, first "
            f"{missing[0]}. Repeat the same precompute-teacher command.",
            kind="unfinished",
        )
    check_layout(root, plan)
    folder = part_folder(root, plan.name)
    before = next(e.index_sha256 for e in load_manifest(root).parts if e.name == plan.name)
    stored = _index_objects(root, plan)
    found = sha256(stored["index.json"])
    if before not in (None, found):
        raise CacheError(
            f"{plan.name} of {root} was sealed as {(before or '')[:12]}; its units now give "
            f"{found[:12]}: recomputed from other sources, on another machine or with "
            "other libraries; or its index is damaged and so is a record or a zarr.json. Restore "
            "those (the index from a copy), or make a new cache with another --out.",
            kind="stale",
        )
    _write_index(folder, stored, again=before is not None)
    if before is None:
        _name_index(root, plan, found)
    remove_unsealed_digests(folder, plan)


def _index_objects(root: CachePath, plan: PartPlan) -> dict[str, bytes]:
    """The objects of a part's index by their keys; ``index.json``, which has their digests, last."""
    stored: dict[str, bytes] = {}
    create_group(stored.__setitem__)
    for name, values in index_arrays(root, plan).items():
        write_whole(stored.__setitem__, name, values)
    digests = {f"index/{key}": sha256(data) for key, data in stored.items()}
    part = objects_of(part_folder(root, plan.name))
    digests |= {key: sha256(part.get(key)) for key in metadata_keys(plan)}
    stored["index.json"] = PartIndex(part=plan.name, objects=digests).encode()
    return stored


def _write_index(folder: CachePath, stored: Mapping[str, bytes], *, again: bool) -> None:
    """Write an index; one that is there is replaced on a disk, and on a store where it is damaged."""
    place = folder / "index"
    if isinstance(place, Path):
        remove_partials(place.parent)
    elif again:
        for key, _ in differing_objects(place, {key: sha256(data) for key, data in stored.items()}):
            objects_of(place).put(key, stored[key])
        return
    with _built_atomically(place) as put:
        for key, data in stored.items():
            put(key, data)
        if isinstance(place, Path):
            shutil.rmtree(place, ignore_errors=True)


def _name_index(root: CachePath, plan: PartPlan, digest: str) -> None:
    """Name a part's index in the manifest, unless another writer has."""
    while not (manifest := load_manifest(root)).sealed(plan.name):
        entries = [
            entry.model_copy(update={"index_sha256": digest}) if entry.name == plan.name else entry
            for entry in manifest.parts
        ]
        with suppress(ObjectChanged):
            _replace_manifest(root, manifest, entries)


def index_arrays(root: CachePath, plan: PartPlan) -> dict[str, Array]:
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
    at_once = objects_of(root).at_once
    records = ahead(lambda unit: _trusted_record(root, plan, unit), range(units), at_once)
    for unit, record in enumerate(records):
        arrays["record_sha256"][unit] = _hex_bytes(sha256(record.encode()))
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


def _trusted_record(root: CachePath, plan: PartPlan, unit: int) -> CommitRecord:
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


def create_root(put: Put, clips: Sequence[Clip], classes: Sequence[str]) -> None:
    """Put what does not change with the parts: groups and clip table."""
    create_group(put)
    create_group(put, "parts")
    write_clip_table(put, clips, classes)


def create_part(put: Put, plan: PartPlan) -> None:
    """Put the plan of a part, its arrays without chunks, and what vouches for them."""
    digests: dict[str, str] = {}

    def noted(key: str, data: bytes) -> None:
        put(key, data)
        digests[key] = sha256(data)

    noted(PLAN, plan.encode())
    create_group(noted)
    for spec in plan.signals:
        shape = (len(plan.units.rows) * spec.chunk_length, *spec.row_shape)
        create_array(noted, spec.name, shape, spec.chunk_shape, spec.dtype, codec=plan.codec)
    put(LAYOUT, PartIndex(part=plan.name, objects=digests).encode())


def _replace_manifest(root: CachePath, manifest: Manifest, parts: list[PartEntry]) -> None:
    update = {"parts": parts, "generation": manifest.generation + 1}
    old, new = (
        SignedManifest.of(one).encode() for one in (manifest, manifest.model_copy(update=update))
    )
    objects_of(root).replace(MANIFEST, old, new)


def draft_path(target: Path) -> Path:
    """Where a folder is built before it is renamed into place."""
    return target.with_name(f"{target.name}.draft{PARTIAL_SUFFIX}")


@contextmanager
def _built_atomically(target: CachePath) -> Iterator[Put]:
    """Give what puts the objects of a folder, all of them or none.

    On a disk they are put beside its place, which takes their folder when the block ends without an
    error. On a store they do not count until the manifest names them.
    """
    if not isinstance(target, Path):
        objects = objects_of(target)
        yield (
            lambda key, data: (
                objects.replace(key, None, data) if key == MANIFEST else objects.put_once(key, data)
            )
        )
        return
    draft = draft_path(target)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)

    def put(key: str, data: bytes) -> None:
        path = draft / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with named_in_errors(path):
            path.write_bytes(data)

    try:
        yield put
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    for path in [draft, *draft.rglob("*")]:
        sync(path)
    draft.rename(target)
    sync(target.parent)

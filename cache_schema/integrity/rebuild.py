"""Put damaged metadata and clip tables back: they follow from the plan and the clips alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cache_schema.clip import Clip
from cache_schema.documents import parse
from cache_schema.errors import CacheError
from cache_schema.metadata import Manifest, PartEntry, PartIndex, PartPlan
from cache_schema.store.address import CachePath
from cache_schema.store.arrays import Put
from cache_schema.store.files import sha256
from cache_schema.store.objects import differing_objects, get_recorded, objects_of
from cache_schema.store.part_digests import LAYOUT, layout_damage, metadata_keys
from cache_schema.writer import INDEX, create_part, create_root, part_folder


def restore_root(root: CachePath, manifest: Manifest, clips: Sequence[Clip]) -> None:
    """Put the clip table and the groups back where they differ from the manifest's digests.

    Raises
    ------
    CacheError
        Kind ``"damaged"`` when an object now comes out otherwise.
    """
    recorded = manifest.clip_table | {"zarr.json": manifest.root_group}
    if any(differing_objects(root, recorded)):
        _put_back(root, lambda put: create_root(put, clips, manifest.corpus.classes), recorded)


def restore_part(root: CachePath, entry: PartEntry, plan: PartPlan) -> None:
    """Put a part's metadata back where it differs from its digest in the index or the layout.

    Where the index itself is damaged nothing is known of the metadata.

    Raises
    ------
    CacheError
        Kind ``"damaged"`` when an object now comes out otherwise.
    """
    folder = part_folder(root, plan.name)
    objects = objects_of(folder)
    recorded: dict[str, str] = {}
    if entry.index_sha256 is None:
        found = [key for key, _ in layout_damage(folder, plan)]
        if found and LAYOUT not in found:
            recorded = parse(PartIndex, objects.get(LAYOUT), LAYOUT).objects
    else:
        data = get_recorded(objects, INDEX, entry.index_sha256) if objects.exists(INDEX) else b""
        if sha256(data) == entry.index_sha256:
            sealed = parse(PartIndex, data, INDEX).objects
            recorded = {key: sealed[key] for key in metadata_keys(plan)}
        found = [key for key, _ in differing_objects(folder, recorded)]
    if found:
        _put_back(folder, lambda put: create_part(put, plan), recorded)


def _put_back(
    folder: CachePath, create: Callable[[Put], None], recorded: Mapping[str, str]
) -> None:
    """Lay out in memory, and take from there what differs; without digests, all that was laid out."""
    fresh: dict[str, bytes] = {}
    create(fresh.__setitem__)
    wanted = recorded or {key: sha256(data) for key, data in fresh.items()}
    for key, problem in list(differing_objects(folder, wanted)):
        if sha256(fresh.get(key, b"")) != wanted[key]:
            raise CacheError(
                f"{folder}/{key} {problem}, and is now laid out otherwise: another corpus or another "
                "version of zarr. Restore it from a copy, or make the cache anew.",
                kind="damaged",
            )
        objects_of(folder).put(key, fresh[key])

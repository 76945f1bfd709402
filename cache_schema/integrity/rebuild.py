"""Put damaged metadata and clip tables back: they follow from the plan and the clips alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cache_schema.clip import Clip
from cache_schema.documents import parse
from cache_schema.errors import CacheError
from cache_schema.metadata import Manifest, PartEntry, PartIndex, PartPlan
from cache_schema.store.files import differing_objects, sha256, write_atomic
from cache_schema.store.part_digests import LAYOUT, layout_damage, metadata_keys
from cache_schema.store.safe_open import read_plain
from cache_schema.writer import INDEX, create_part, create_root, draft_path, part_folder


def restore_root(root: Path, manifest: Manifest, clips: Sequence[Clip]) -> None:
    """Put the clip table and the groups back where they differ from the manifest's digests.

    Raises
    ------
    CacheError
        Kind ``"damaged"`` when an object now comes out otherwise.
    """
    recorded = manifest.clip_table | {"zarr.json": manifest.root_group}
    if any(differing_objects(root, recorded)):
        _put_back(root, lambda draft: create_root(draft, clips, manifest.corpus.classes), recorded)


def restore_part(root: Path, entry: PartEntry, plan: PartPlan) -> None:
    """Put a part's metadata back where it differs from its digest in the index or the layout.

    Where the index itself is damaged nothing is known of the metadata.

    Raises
    ------
    CacheError
        Kind ``"damaged"`` when an object now comes out otherwise.
    """
    folder = part_folder(root, plan.name)
    recorded: dict[str, str] = {}
    if entry.index_sha256 is None:
        found = [key for key, _ in layout_damage(folder, plan)]
        if found and LAYOUT not in found:
            recorded = parse(PartIndex, read_plain(folder / LAYOUT), LAYOUT).objects
    else:
        data = read_plain(folder / INDEX) if (folder / INDEX).is_file() else b""
        if sha256(data) == entry.index_sha256:
            objects = parse(PartIndex, data, INDEX).objects
            recorded = {key: objects[key] for key in metadata_keys(plan)}
        found = [key for key, _ in differing_objects(folder, recorded)]
    if found:
        _put_back(folder, lambda draft: create_part(draft, plan), recorded)


def _put_back(folder: Path, create: Callable[[Path], None], recorded: Mapping[str, str]) -> None:
    """Lay out aside, and take from there what differs; without digests, all that was laid out."""
    draft = draft_path(folder / "again")
    shutil.rmtree(draft, ignore_errors=True)
    create(draft)
    fresh = {
        p.relative_to(draft).as_posix(): p.read_bytes() for p in draft.rglob("*") if p.is_file()
    }
    shutil.rmtree(draft)
    wanted = recorded or {key: sha256(data) for key, data in fresh.items()}
    for key, problem in list(differing_objects(folder, wanted)):
        if sha256(fresh.get(key, b"")) != wanted[key]:
            raise CacheError(
                f"{folder}/{key} {problem}, and is now laid out otherwise: another corpus or another "
                "version of zarr. Restore it from a copy, or make the cache anew.",
                kind="damaged",
            )
        write_atomic(folder / key, fresh[key])

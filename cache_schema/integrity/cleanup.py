"""Clear away what a killed writer left, and nothing that a kill does not leave."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

from cache_schema.errors import CacheError, bullet_list
from cache_schema.metadata import Manifest
from cache_schema.store.address import CachePath
from cache_schema.store.files import remove_partials
from cache_schema.store.objects import objects_of
from cache_schema.store.part_digests import PLAN, remove_unsealed_digests
from cache_schema.store.safe_open import check_no_links
from cache_schema.writer import (
    MANIFEST,
    draft_path,
    load_manifest,
    load_plan,
    part_folder,
    remove_part_folder,
)

_PART = re.compile("part-[0-9]{3,6}")


def remove_leftovers(root: CachePath) -> None:
    """Remove what a killed writer left: half-written files and parts no manifest names.

    On a store nothing is ever half-written, and a part that no manifest names may be another writer's.

    Raises
    ------
    CacheError
        Kind ``"damaged"`` when such a part holds commit records: no kill leaves that behind;
        ``"link"`` when anything in the cache is a link or no plain file.
    """
    if isinstance(root, Path):
        check_no_links(root)
        shutil.rmtree(draft_path(root), ignore_errors=True)
    if not objects_of(root).exists(MANIFEST):
        return
    manifest = load_manifest(root)
    _check_unnamed_records(root, manifest)
    if isinstance(root, Path):
        remove_partials(root)
        for name in unnamed_parts(root, manifest):  # listed again: drafts are among the partials
            remove_part_folder(root, name)
    for entry in manifest.parts:
        if entry.index_sha256 is not None:
            remove_unsealed_digests(part_folder(root, entry.name), load_plan(root, entry))


def unnamed_parts(root: CachePath, manifest: Manifest) -> dict[str, int]:
    """Names of parts that the manifest does not name, with the commit records in each.

    A part is renamed into place as a whole, so what has no plan is none; so it is on a store, where
    the plan is put first. Nor is a copy, which has another name than a part.
    """
    named = {entry.name for entry in manifest.parts}
    if isinstance(root, Path):
        folders = {plan.parent.name for plan in (root / "parts").glob(f"*/{PLAN}")}
        found = set(filter(_PART.fullmatch, folders - named))
        commits = {n: (root / "parts" / n).glob("commits/*.json") for n in sorted(found)}
        return {name: len(list(records)) for name, records in commits.items()}
    split = [key.split("/") for key in objects_of(root).list("parts")]
    folders = {names[1] for names in split if names[2:] == [PLAN]}
    found = set(filter(_PART.fullmatch, folders - named))
    records = Counter(names[1] for names in split if names[2:3] == ["commits"])
    return {name: records[name] for name in sorted(found)}


def _check_unnamed_records(root: CachePath, manifest: Manifest) -> None:
    lost = {
        part_folder(root, name): count
        for name, count in unnamed_parts(root, manifest).items()
        if count
    }
    if lost:
        raise CacheError(
            f"{root}/{MANIFEST}, generation {manifest.generation}, does not name "
            f"{len(lost)} part(s) that hold commit records: it is an older one\n"
            + bullet_list(f"{folder}: {count} work units" for folder, count in lost.items())
            + f"\nNothing was removed. Put the latest {MANIFEST} back; or, if they are not wanted, "
            "delete these folders and repeat the command.",
            kind="damaged",
        )

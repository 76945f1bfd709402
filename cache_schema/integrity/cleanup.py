"""Clear away what a killed writer left, and nothing that a kill does not leave."""

from __future__ import annotations

import shutil
from pathlib import Path

from cache_schema.errors import CacheError, bullet_list
from cache_schema.metadata import Manifest
from cache_schema.store.files import remove_partials
from cache_schema.store.part_digests import PLAN, remove_unsealed_digests
from cache_schema.store.safe_open import check_no_links
from cache_schema.writer import MANIFEST, draft_path, load_manifest, part_folder


def remove_leftovers(root: Path) -> None:
    """Remove what a killed writer left: half-written files and parts no manifest names.

    Raises
    ------
    CacheError
        Kind ``"damaged"`` when such a part holds commit records: no kill leaves that behind;
        ``"link"`` when anything in the cache is a link or no plain file.
    """
    check_no_links(root)
    shutil.rmtree(draft_path(root), ignore_errors=True)
    if not (root / MANIFEST).is_file():
        return
    manifest = load_manifest(root)
    _check_unnamed_records(root, manifest)
    remove_partials(root)
    for folder in unnamed_parts(root, manifest):  # listed again: drafts are among the partials
        shutil.rmtree(folder)
    for entry in manifest.parts:
        if entry.index_sha256 is not None:
            remove_unsealed_digests(part_folder(root, entry.name))


def unnamed_parts(root: Path, manifest: Manifest) -> dict[Path, int]:
    """Folders of parts that the manifest does not name, with the commit records in each.

    A part is renamed into place as a whole, so what has no plan is none.
    """
    named = {entry.name for entry in manifest.parts}
    folders = [p.parent for p in (root / "parts").glob(f"*/{PLAN}") if p.parent.name not in named]
    return {folder: len(list(folder.glob("commits/*.json"))) for folder in sorted(folders)}


def _check_unnamed_records(root: Path, manifest: Manifest) -> None:
    lost = {folder: count for folder, count in unnamed_parts(root, manifest).items() if count}
    if lost:
        raise CacheError(
            f"{root}/{MANIFEST}, generation {manifest.generation}, does not name "
            f"{len(lost)} part(s) that hold commit records: it is an older one\n"
            + bullet_list(f"{folder}: {count} work units" for folder, count in lost.items())
            + f"\nNothing was removed. Put the latest {MANIFEST} back; or, if they are not wanted, "
            "delete these folders and repeat the command.",
            kind="damaged",
        )

"""The hub's cache, as ``huggingface_hub`` keeps repositories: snapshots of links into blobs."""

from __future__ import annotations

import re
from pathlib import Path

from cache_schema.errors import UsageError, listed
from pipeline.corpora.walk import spelled

REPOSITORY = re.compile(r"(datasets|models|spaces)--.+")
SNAPSHOTS, BLOBS = "snapshots", "blobs"


def hub_repository(path: Path) -> Path | None:
    """The repository that a path in a snapshot belongs to, whose blobs its links lead to."""
    for folder in (path.absolute(), *path.absolute().parents):
        if folder.parent.name == SNAPSHOTS and _is_repository(folder.parent.parent):
            return folder.parent.parent.resolve()
    return None


def refuse_hub_repository(kind: str, path: Path) -> None:
    """Refuse a whole repository, whose folders are no corpus' own.

    Raises
    ------
    UsageError
        With the snapshots that are there, as they are named.
    """
    folder = path.absolute()
    repository = folder.parent if folder.name == SNAPSHOTS else folder
    if not _is_repository(repository):
        return
    snapshots = sorted(p for p in (repository / SNAPSHOTS).iterdir() if p.is_dir())
    ways = listed(f"{kind}:{spelled(snapshot)}" for snapshot in snapshots) or "  (there is none)"
    raise UsageError(
        f"corpus {kind}:{path}: this is a repository in the hub's cache; name a snapshot of it, whose "
        f"links into {BLOBS}/ are followed\n{ways}",
        kind="corpus",
    )


def _is_repository(folder: Path) -> bool:
    return (
        REPOSITORY.fullmatch(folder.name) is not None
        and (folder / SNAPSHOTS).is_dir()
        and (folder / BLOBS).is_dir()
    )

"""The hub's cache, as ``huggingface_hub`` keeps repositories: snapshots of links into blobs."""

from __future__ import annotations

import re
from pathlib import Path

from cache_schema.errors import UsageError, bullet_list
from pipeline.corpora.walk import option_text

REPOSITORY = re.compile(r"(datasets|models|spaces)--.+")
SNAPSHOTS, BLOBS = "snapshots", "blobs"


def hub_repository(path: Path) -> Path | None:
    """The repository that a path in a snapshot belongs to, whose blobs its links lead to."""
    for folder in (path.absolute(), *path.absolute().parents):
        if folder.parent.name == SNAPSHOTS and _is_repository(folder.parent.parent):
            return folder.parent.parent.resolve()
    return None


def check_not_hub_repository(kind: str, path: Path) -> None:
    """Reject a whole repository, or a folder of them, whose folders are no corpus' own.

    Raises
    ------
    UsageError
        With the snapshots that are there, as they are named.
    """
    folder = path.absolute()
    here = folder.parent if folder.name == SNAPSHOTS else folder
    repositories = [place for place in (here, *here.glob("*--*")) if _is_repository(place)]
    if not repositories:
        return
    places = [place for one in repositories for place in (one / SNAPSHOTS).iterdir()]
    snapshots = sorted(place for place in places if place.is_dir())
    ways = (
        bullet_list(f"{kind}:{option_text(snapshot)}" for snapshot in snapshots)
        or "  (there is none)"
    )
    raise UsageError(
        f"corpus {kind}:{path}: this is the hub's cache, or a repository in it; name a snapshot, whose "
        f"links into {BLOBS}/ are followed\n{ways}",
        kind="corpus",
    )


def _is_repository(folder: Path) -> bool:
    return (
        REPOSITORY.fullmatch(folder.name) is not None
        and (folder / SNAPSHOTS).is_dir()
        and (folder / BLOBS).is_dir()
    )

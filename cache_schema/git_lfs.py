"""Files that Git has put a pointer in the place of: cloned where Git LFS is not installed."""

from __future__ import annotations

from pathlib import Path

POINTER = "a Git LFS pointer in the place of the file, which `git lfs pull` fetches"
MARK = b"version https://git-lfs.github.com/spec/"
_MAX_BYTES = 1024  # of a pointer, by its specification


def is_pointer(path: Path) -> bool:
    """Whether a file holds a pointer alone; one that is large or cannot be read does not."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return False
        with path.open("rb") as file:
            return file.read(len(MARK)) == MARK
    except OSError:
        return False

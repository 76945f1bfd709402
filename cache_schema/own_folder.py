"""A command writes into a folder of its own: a new or an empty one, or one that it has begun."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from cache_schema.errors import UsageError
from cache_schema.store.address import CachePath
from cache_schema.store.files import PARTIAL_SUFFIX
from cache_schema.store.objects import objects_of

MAX_NAMES = 3


def check_own_folder(
    folder: CachePath, what: str, command: str, marks: Collection[str], *, option: str = "--out"
) -> None:
    """Reject a folder that holds other things.

    Parameters
    ----------
    folder : CachePath
        Where a command is to write; it need not be there.
    what, command : str
        What is made of it and by which command, as ``"cache"`` and ``"precompute-teacher"``.
    marks : collection of str
        Names, or suffixes that begin with a dot, of which it has one once the command has begun.
    option : str
        That names the folder.

    Raises
    ------
    UsageError
        Kind ``"exists"``, naming what is there.
    """
    suffixes = tuple(mark for mark in marks if mark.startswith("."))
    names: list[str] = []
    for name in _names(folder, what, option):
        if name in marks or name.endswith(suffixes):
            return
        if name not in names[-1:] and not name.endswith(PARTIAL_SUFFIX):
            names.append(name)
    if not names:
        return
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    raise UsageError(
        f"{folder} is not empty and is no {what}: it was not made by {command} and holds "
        f"{', '.join(names[:MAX_NAMES])}{more}. Nothing was written. Choose another {option}",
        kind="exists",
    )


def _names(folder: CachePath, what: str, option: str) -> Iterator[str]:
    """Names that lie in a folder, on a store once for each object below them."""
    if not isinstance(folder, Path):
        yield from (key.partition("/")[0] for key in objects_of(folder).list())
    elif folder.is_dir():
        yield from sorted(os.listdir(folder))
    elif os.path.lexists(folder):
        raise UsageError(
            f"{folder} is no folder, as {option} must be: it is to hold the {what}. Choose another "
            f"{option}",
            kind="exists",
        )
